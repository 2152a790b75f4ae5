"""`pathology train adapt` as users run it, on pictures of two domains."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.models.card import ContractError, load_classifier
from pathology.models.tile_head import TileHead
from pathology.stain.config import StainConfig
from pathology.stain.contract import StainMismatch
from pathology.stain.fit import fit_reference
from pathology.stain.normalize_store import normalize_store
from pipelines.adapt_scores import warnings_of
from pipelines.adapt_train import AdaptOptions, Domains, train_adapt
from pipelines.adapt_train import read_domains as read_given
from pipelines.input_kinds import look_at
from pipelines.predict import predict
from pipelines.tile_for_model import CutOptions, tile_for_model
from tests.conftest import tissue_pixels
from tests.pipelines.small_encoder import write_weights
from tests.stain.synthetic import OTHER, he_tiles
from tests.stain.test_normalize_store import make_store

EDGE = 64
SETTINGS = {
    "encoder": "resnet10t", "size_px": EDGE, "steps": 60, "batch_size": 16, "width": 16,
    "judge_width": 16,
}  # fmt: skip
NUM = 12


def read_domains(
    source: Path,
    target: Path,
    settings: AdaptConfig,
    options: AdaptOptions,
    folder: Path | None = None,
    **named: object,
) -> Domains:
    """Both domains; pixels beside the source, unless another folder is given."""
    folder = folder or source.parent / "run"
    one, other = look_at(source), look_at(target)
    return read_given(one, other, settings, options, folder, **named)  # type: ignore[arg-type]


def write_pictures(folder: Path, *, is_target: bool, num: int = NUM) -> Path:
    """Pictures of tissue, every other one much darker; the target's are a little red."""
    folder.mkdir(parents=True)
    for i in range(num):
        pixels = tissue_pixels(EDGE, EDGE, seed=i + 100 * is_target).astype(np.float64)
        pixels *= 0.45 if i % 2 else 1.0
        if is_target:
            pixels *= np.array([1.0, 0.85, 0.85])
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{i}.png")
    return folder


def write_manifest(path: Path, folder: Path, labels: tuple[str, str] = ("benign", "malignant")):
    rows = [
        [file.stem, f"c{file.stem}", file, labels[int(file.stem[1:]) % 2], 0.5]
        for file in sorted(folder.glob("*.png"))
    ]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["slide_id", "case_id", "slide_path", "label", "mpp"], *rows])
    return path


def write_domains(folder: Path) -> tuple[Path, Path]:
    """A manifest of the source, and a folder of the target."""
    source = write_pictures(folder / "slides", is_target=False)
    target = write_pictures(folder / "camera", is_target=True)
    return write_manifest(folder / "source.csv", source), target


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_domains(tmp_path_factory.mktemp("adapt"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "resnet10t.pt")


def config(**more: object) -> AdaptConfig:
    return AdaptConfig.model_validate({**SETTINGS, **more})


def test_as_a_command_and_its_model_predicts(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, target = domains
    out = tmp_path / "scope.pt"
    words = [sys.executable, "-m", "pipelines"]
    train = [
        *words, "train", "adapt", "--source", source, "--target", target, "--out", out,
        "--weights", weights, "--device", "cpu", "--target-mpp", 0.5,
        *(w for k, v in {**SETTINGS, "steps": 200}.items() for w in ("--set", f"{k}={v}")),
    ]  # fmt: skip
    done = subprocess.run([str(w) for w in train], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "benign < malignant for camera by dman, research use only" in done.stdout
    assert "target accuracy" not in done.stdout  # it has no labels
    assert "target density" in done.stdout
    assert "by the source alone" in done.stdout
    card, state = load_classifier(out)
    assert (card.task, card.source, card.target) == ("adapt", "source.csv", "camera")
    assert (card.tiles.mpp, card.tiles.size_px, card.tiles.encoder) == (0.5, EDGE, "resnet10t")
    assert {name.split(".")[0] for name in state} == {"bag"}
    assert card.metrics["share_0"] + card.metrics["share_1"] == pytest.approx(1)
    assert sorted(p.name for p in (tmp_path / "scope.run").iterdir()) == [
        "checkpoint.pt", "curves.png", "differences.png", "domains.png", "metrics.jsonl",
        "run.json", "source_only",
    ]  # fmt: skip
    ask = [
        *words, "predict", out, target, "--out", tmp_path / "p.csv", "--weights", weights,
        "--assume-mpp", 0.5, "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run([str(w) for w in ask], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert len(rows) == NUM
    right = [
        (float(row["prob_malignant"]) > 0.5) == (int(row["slide_id"][1:]) % 2 == 1) for row in rows
    ]
    assert np.mean(right) >= 0.9


def test_stopped_and_gone_on_with_to_the_same_model(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    long = config(steps=520)
    read = read_domains(*domains, long, AdaptOptions(device="cpu", weights=weights))
    train_adapt(read, tmp_path / "whole.pt", long)

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 510:  # after the checkpoint of step 300
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapt(read, tmp_path / "part.pt", long, on_step=stop)
    assert not (tmp_path / "part.pt").exists()
    said: list[str] = []
    train_adapt(read, tmp_path / "part.pt", long, say=said.append)
    assert "went on from step 300 of an earlier run" in said
    one, other = (load_classifier(tmp_path / f"{name}.pt") for name in ("whole", "part"))
    assert one[0] == other[0]
    for name, value in one[1].items():
        assert (value == other[1][name]).all()


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


def test_a_model_refuses_tiles_of_another_size(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    read = read_domains(*domains, config(), AdaptOptions(device="cpu", weights=weights))
    train_adapt(read, tmp_path / "m.pt", config())
    tile_for_model(tmp_path / "m.pt", domains[1], CutOptions(tmp_path / "run", assume_mpp=0.5))
    grades = predict(tmp_path / "m.pt", tmp_path / "run", tmp_path / "p.csv", weights=weights)
    assert len(grades) == NUM
    small = config(size_px=32)
    read = read_domains(*domains, small, AdaptOptions(device="cpu", weights=weights))
    train_adapt(read, tmp_path / "small.pt", small)
    with pytest.raises(ContractError, match="tiles have 64 px, expected 32"):
        predict(tmp_path / "small.pt", tmp_path / "run", tmp_path / "q.csv", weights=weights)


def test_two_peers_predict_by_their_mean(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "peers.pt", AdaptOptions(device="cpu", weights=weights)
    read = read_domains(*domains, config(), options)
    card = train_adapt(
        read, out, config(method="couda", steps=120, terms={"diversity": 1}), options
    )
    assert card.method == "couda" and card.metrics["target_entropy"] < 0.6
    weights_of = load_classifier(out)[1]
    each = []
    for peer in ("one", "other"):
        start = f"bag.{peer}."
        head = TileHead(read.tiles.num_features, 2, 16, 0.0)
        head.load_state_dict(
            {n.removeprefix(start): v for n, v in weights_of.items() if n.startswith(start)}
        )
        features = torch.from_numpy(np.asarray(read.target.read(slice(None)), np.float32))
        each.append(head(features).softmax(dim=1)[:, 1].detach().numpy())
    tile_for_model(out, domains[1], CutOptions(tmp_path / "run", assume_mpp=0.5))
    predict(out, tmp_path / "run", tmp_path / "p.csv", weights=weights)
    rows = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    found = {row["slide_id"]: float(row["prob_malignant"]) for row in rows}
    wanted = dict(zip(read.target.slide_ids, (each[0] + each[1]) / 2, strict=True))
    assert found == pytest.approx(wanted, abs=5e-3)  # tiles are stored as JPEG
    assert np.abs(each[0] - each[1]).max() > 0.02


def test_harm_is_said() -> None:
    fine = {
        "share_0": 0.5, "share_1": 0.5, "target_density": 5.5, "source_only_target_density": 5.5,
        "source_accuracy": 0.91, "source_only_source_accuracy": 0.92,
    }  # fmt: skip
    assert warnings_of(fine, ("benign", "malignant")) == []
    (line,) = warnings_of(fine | {"share_0": 0.995, "share_1": 0.005}, ("benign", "malignant"))
    assert "only 0.5% of the target's tiles are called malignant" in line
    apart = fine | {"target_density": 5.2}
    assert warnings_of(apart, ("benign", "malignant")) == []  # by itself it says little
    (line,) = warnings_of(apart | {"source_accuracy": 0.89}, ("benign", "malignant"))
    assert "SND 5.20, without adaptation 5.50" in line and "fell from 0.920 to 0.890" in line
    moved = fine | {"source_only_share_0": 0.95, "source_only_share_1": 0.05}
    (line,) = warnings_of(moved, ("benign", "malignant"))
    assert "45% of the target's tiles changed sides: benign 95%, malignant 5%" in line
    alone = {"share_0": 0.5, "share_1": 0.5, "target_density": 5.5, "source_accuracy": 0.9}
    assert warnings_of(alone, ("benign", "malignant")) == []  # nothing to compare with
    (line,) = warnings_of(fine | {"source_accuracy": 0.7}, ("benign", "malignant"))
    assert "fell from 0.920 to 0.700" in line


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
