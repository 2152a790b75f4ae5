"""What an adaptation reads of both domains: labels, classes, splits, and what it refuses."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from pathology.core.errors import ArtifactError, ConfigError, ManifestError
from pathology.models.card import load_classifier
from pathology.stain.config import StainConfig
from pathology.stain.contract import StainMismatch
from pathology.stain.fit import fit_reference
from pathology.stain.normalize_store import normalize_store
from pipelines.adapt_inputs import labels_of, say_absent_names
from pipelines.adapt_train import AdaptOptions, train_adapt
from pipelines.input_kinds import look_at
from tests.pipelines.adapt_cohort import (
    EDGE,
    NUM,
    config,
    read_domains,
    write_manifest,
)
from tests.stain.synthetic import OTHER, he_tiles
from tests.stain.test_normalize_store import make_store


def test_names_of_classes_are_mapped(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, target = domains
    other = write_manifest(tmp_path / "target.csv", target, ("n", "aca"))
    options = AdaptOptions(device="cpu", weights=weights)
    with pytest.raises(
        ConfigError, match=r"'n' is none of the classes benign, malignant.*class_map"
    ):
        read_domains(source, other, config(), options)
    mapped = config(class_map={"n": "benign", "aca": "malignant"})
    read = read_domains(source, other, mapped, options)
    assert sorted(read.target.label_S.tolist()) == [0] * (NUM // 2) + [1] * (NUM // 2)


def test_a_name_to_map_that_no_label_has_is_said(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """No error: a map may be that of several targets, of which this one has no such label."""
    source, target = domains
    other = write_manifest(tmp_path / "target.csv", target, ("n", "malignant"))
    options = AdaptOptions(device="cpu", weights=weights)
    said: list[str] = []
    mapped = config(class_map={"n": "benign", "typo": "malignant"})
    read_domains(source, other, mapped, options, say=said.append)
    assert "class_map: no label is called 'typo' (labels: benign, malignant, n)" in said
    table = tmp_path / "predictions.csv"
    table.write_text("slide_id,l0_x,l0_y,prob_n,prob_typo\ns,0,0,0.5,0.5\n")
    records = labels_of(look_at(source).slides, None)
    lines: list[str] = []
    say_absent_names(mapped, [records], table, lines.append)  # its grades are labels, too
    assert not lines
    say_absent_names(mapped, [records], None, lines.append)
    assert lines == ["class_map: no label is called 'n', 'typo' (labels: benign, malignant)"]


def test_a_case_in_two_parts_of_the_source_is_refused(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """It would say how well the source is known from what was learned of it."""
    source, target = domains
    with source.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    options, said = AdaptOptions(device="cpu", weights=weights), list[str]()

    def write(*parts: str, cases: tuple[str, ...] = ()) -> Path:
        path = tmp_path / "source.csv"
        with path.open("w", newline="") as stream:
            table = csv.DictWriter(stream, [*rows[0], *({"split", "case_id"} - set(rows[0]))])
            table.writeheader()
            for i, row in enumerate(rows):
                case = cases[i] if i < len(cases) else f"c{i}"
                part = parts[i] if i < len(parts) else "train"
                table.writerow({**row, "split": part, "case_id": case})
        return path

    with pytest.raises(ManifestError, match="case 'c' is in"):
        read_domains(write("train", "val", cases=("c", "c")), target, config(), options)
    read_domains(write("val", "val", ""), target, config(), options, say=said.append)
    assert any("of the source are in no part of the split" in line for line in said)


def test_what_cannot_be_learned_from_is_named(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, target = domains
    options = AdaptOptions(device="cpu", weights=weights)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="empty"):
        read_domains(source, tmp_path / "empty", config(), options)
    with pytest.raises(ConfigError, match="the source has no labels"):
        read_domains(target, target, config(), options)
    one = write_manifest(tmp_path / "one.csv", source.parent / "slides", ("benign", "benign"))
    with pytest.raises(ConfigError, match="two grades at least"):
        read_domains(one, target, config(), options)
    grey = tmp_path / "grey"
    grey.mkdir()
    Image.new("L", (EDGE, EDGE), 128).save(grey / "g.png")
    with pytest.raises(ArtifactError, match=r"no tiles to learn from.*grey picture"):
        read_domains(source, grey, config(), options)
    Image.open(target / "p1.png").save(grey / "color.png")
    (grey / "broken.png").write_bytes(b"\x89PNG")
    said: list[str] = []
    read = read_domains(source, grey, config(), options, say=said.append)
    assert read.target.slide_ids == ("color",)
    assert any(line.startswith("g: a grey picture") for line in said)
    assert any(line.startswith("broken: ") for line in said)


def test_labels_of_the_target_serve_figures_and_the_oracle_alone(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, target = domains
    labelled = write_manifest(tmp_path / "target.csv", target)
    options = AdaptOptions(device="cpu", weights=weights)
    plain = read_domains(source, target, config(), options)
    told = read_domains(source, labelled, config(), options)
    cards = [
        train_adapt(read, tmp_path / f"{i}.pt", config()) for i, read in enumerate((plain, told))
    ]
    assert "target_accuracy" in cards[1].metrics and "target_accuracy" not in cards[0].metrics
    one, other = (load_classifier(tmp_path / f"{i}.pt")[1] for i in (0, 1))
    assert all((one[name] == other[name]).all() for name in one)  # nothing was learned from them
    oracle = train_adapt(told, tmp_path / "oracle.pt", config(method="target", steps=200))
    assert oracle.metrics["target_accuracy"] > 0.9


def test_other_labels_teach_the_oracle_anew_and_nobody_else(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, target = domains
    labels = ("benign", "malignant")
    named = [
        write_manifest(tmp_path / f"{i}.csv", target, names)
        for i, names in enumerate((labels, labels[::-1]))
    ]
    for method, num in (("target", 60), ("mcc", 0)):
        settings, steps = config(method=method), []
        options = AdaptOptions(device="cpu", weights=weights)
        one, other = (read_domains(source, manifest, settings, options) for manifest in named)
        train_adapt(one, tmp_path / f"{method}.pt", settings)
        train_adapt(
            other, tmp_path / f"{method}.pt", settings,
            on_step=lambda step, values, seen=steps: seen.append(step),  # type: ignore[misc]
        )  # fmt: skip
        assert len(steps) == num


def test_raw_and_normalized_tiles_are_not_mixed(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """A card that says raw would let raw tiles be graded by what normalized ones taught."""
    tiles = he_tiles(4, EDGE)
    run = tmp_path / "run"
    for i in range(8):
        make_store(run / "tiles" / f"s{i}.zarr", tiles)
    model = fit_reference([he_tiles(4, EDGE, matrix=OTHER)], StainConfig())
    styled = tmp_path / "styled"
    for i in range(8):
        normalize_store(run / "tiles" / f"s{i}.zarr", styled / "tiles" / f"s{i}.zarr", model,
                        StainConfig())  # fmt: skip
    labels = tmp_path / "labels.csv"
    rows = [[f"s{i}", f"c{i}", f"s{i}.svs", ("benign", "malignant")[i % 2]] for i in range(8)]
    with labels.open("w", newline="") as stream:
        csv.writer(stream).writerows([["slide_id", "case_id", "slide_path", "label"], *rows])
    options = AdaptOptions(device="cpu", weights=weights, labels=labels)
    with pytest.raises(StainMismatch, match="Normalize both with one model, or neither"):
        read_domains(styled, domains[1], config(), options)
    read = read_domains(styled, styled, config(), options)
    assert read.tiles.stain == model.fingerprint


def test_the_sources_own_split_is_kept(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, target = domains
    rows = list(csv.reader(source.read_text().splitlines()))
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    manifest = tmp_path / "source.csv"
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [[*rows[0], "split"], *([*r, p] for r, p in zip(rows[1:], parts, strict=True))]
        )
    read = read_domains(manifest, target, config(), AdaptOptions(device="cpu", weights=weights))
    names = [row[0] for row in rows[1:]]
    assert sorted(read.train.slide_ids) == sorted(names[:6])
    assert sorted(read.val.slide_ids) == sorted(names[6:9])
