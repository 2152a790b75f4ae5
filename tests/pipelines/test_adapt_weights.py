"""Weights of the source's slides: what a manifest may say, and what training makes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.core.errors import ConfigError
from pathology.core.manifest import SlideRecord
from pipelines.adapt_domains import AdaptOptions, Domains
from pipelines.adapt_look import Looker
from pipelines.adapt_training import train_on
from pipelines.adapt_weights import weighed, weight_of, weights_of
from tests.in_process import pathology
from tests.pipelines.adapt_cohort import NUM, config, read_domains, write_domains


def record(cell: str | None, column: str = "weight") -> SlideRecord:
    extra = {} if cell is None else {column: cell}
    return SlideRecord("s7", Path("s7.svs"), label="benign", extra=extra)


@pytest.mark.parametrize(
    ("cell", "wanted"), [("2", 2.0), ("0.25", 0.25), ("0,25", 0.25), ("1e-3", 1e-3), ("", 1.0),
                         (None, 1.0)],
)  # fmt: skip
def test_a_weight_is_a_positive_number_and_one_where_none_is_said(
    cell: str | None, wanted: float
) -> None:
    assert weight_of(record(cell)) == wanted
    assert weight_of(record(cell, " Weight")) == wanted


@pytest.mark.parametrize("cell", ["-1", "0", "nan", "NaN", "inf", "1e999", "heavy", "1;2"])
def test_what_is_no_positive_number_is_refused_by_the_slides_name(cell: str) -> None:
    with pytest.raises(ConfigError, match="s7: its weight in the manifest is ") as refusal:
        weights_of({"s7": record(cell)})
    assert repr(cell) in str(refusal.value) and "\n" not in str(refusal.value)
    unlabelled = SlideRecord("s7", Path("s7.svs"), extra={"weight": cell})
    assert weights_of({"s7": unlabelled}) == {}  # it is left out


def with_weights(manifest: Path, weights: list[str], name: str = "weights.csv") -> Path:
    """The manifest with one more column."""
    head, *rows = manifest.read_text().splitlines()
    lines = [f"{head},weight", *(f"{row},{w}" for row, w in zip(rows, weights, strict=True))]
    path = manifest.with_name(name)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_command_refuses_it_in_one_line(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    manifest = with_weights(domains[0], ["1", "-3", *["1"] * (NUM - 2)], "bad.csv")
    name = manifest.read_text().splitlines()[2].split(",")[0]
    done = pathology(
        "train", "adapt", "--source", manifest, "--target", domains[1], "--out", tmp_path / "m.pt",
        "--weights", weights, "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert f"{name}: its weight in the manifest is '-3'" in line


def read(source: Path, target: Path, weights: Path, folder: Path, **more: object) -> Domains:
    options = AdaptOptions(device="cpu", weights=weights)
    return read_domains(source, target, config(**more), options, folder)


def test_weights_that_are_all_alike_are_none_and_others_have_mean_one(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    plain = read(*domains, weights, tmp_path)
    alike = read(with_weights(domains[0], ["7"] * NUM), domains[1], weights, tmp_path)
    assert plain.train.weight_N is None and alike.train.weight_N is None
    said: list[str] = []
    number = {name: float(i + 1) for i, name in enumerate(plain.train.slide_ids)}
    found = weighed(plain.train, number, said.append).weight_N
    assert found is not None and found.mean() == pytest.approx(1)
    slide_N = plain.train.slide_N
    assert np.allclose(found / found[0], (slide_N + 1) / (slide_N[0] + 1))
    assert said == [
        f"tiles of the source count from {found.min():.2g} to {found.max():.2g} times as much as "
        "their mean"
    ]
    twice = weighed(plain.train, {name: 2 * w for name, w in number.items()}, said.append)
    assert np.array_equal(twice.weight_N, found)


@pytest.mark.parametrize("encoder_rate", [0.0, 0.1])
def test_other_weights_are_another_training_and_the_same_ones_twice_as_large_are_not(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, encoder_rate: float
) -> None:
    settings = {"steps": 3, "batch_size": 4, "encoder_rate": encoder_rate}
    some = [str(1 + i % 3) for i in range(NUM)]
    tables = {
        "plain": domains[0],
        "some": with_weights(domains[0], some, "some.csv"),
        "twice": with_weights(domains[0], [str(2 * int(w)) for w in some], "twice.csv"),
        "other": with_weights(domains[0], some[::-1], "other.csv"),
    }
    found, said = {}, dict[str, list[str]]()
    for name, table in tables.items():
        given = read(table, domains[1], weights, tmp_path, **settings)
        lines = said.setdefault(name, [])
        options = AdaptOptions(device="cpu")
        model = train_on(given, config(**settings), options, tmp_path / "run", say=lines.append)
        found[name] = model.state_dict()
    again = "went on from step 3 of an earlier run"
    assert [again in said[name] for name in tables] == [False, False, True, False]
    layer = "head.head.weight"
    assert torch.equal(found["some"][layer], found["twice"][layer])
    assert not torch.equal(found["some"][layer], found["plain"][layer])
    assert not torch.equal(found["some"][layer], found["other"][layer])


def test_slides_that_count_for_little_teach_little(weights: Path, tmp_path: Path) -> None:
    """A third of the labels is turned round: with next to no weight they do no harm."""
    source, target = write_domains(tmp_path)
    head, *rows = source.read_text().splitlines()
    other = {"benign": "malignant", "malignant": "benign"}
    wrong = [i % 3 == 0 for i in range(NUM)]
    for i in np.flatnonzero(wrong):
        cells = rows[i].split(",")
        rows[i] = ",".join([*cells[:3], other[cells[3]], *cells[4:]])
    source.write_text("\n".join([head, *(f"{row}" for row in rows)]) + "\n")
    options, settings = AdaptOptions(device="cpu"), config(method="source", steps=150)
    sure = {}
    for name, table in (
        ("plain", source),
        ("weighed", with_weights(source, ["0.001" if w else "1" for w in wrong])),
    ):
        given = read(table, target, weights, tmp_path / "run", method="source")
        model = train_on(given, settings, options, tmp_path / name)
        with torch.inference_mode():
            logits = model.classify(torch.from_numpy(Looker(model, settings)(given.target, 1)), 1)
        truth = np.array([int(slide[1:]) % 2 for slide in given.target.slide_ids])
        sure[name] = logits.logits_BC.softmax(dim=1).numpy()[np.arange(NUM), truth]
    assert (sure["weighed"] > 0.5).mean() >= 0.9
    assert sure["weighed"].mean() > sure["plain"].mean() + 0.1
