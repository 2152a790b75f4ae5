"""What comes of `pathology train adapt`: warnings, tiles of one physical size, probabilities."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pathology.models.card import load_classifier
from pipelines import adapt_scores
from pipelines.adapt_scores import warnings_of
from pipelines.adapt_tiles import FeatureSink
from tests.adapt.test_scale import disks
from tests.conftest import tissue_pixels
from tests.in_process import pathology
from tests.pipelines.adapt_cohort import EDGE, NUM, SETTINGS, write_manifest

Pixels = NDArray[np.uint8]
NUM_GUESSED = 20


def adapt(
    source: Path, target: Path, out: Path, weights: Path, *more: object, **settings: object
) -> CompletedProcess[str]:
    return pathology(
        "train", "adapt", "--source", source, "--target", target, "--out", out, "--weights",
        weights, "--device", "cpu", *more,
        *(w for k, v in {**SETTINGS, **settings}.items() for w in ("--set", f"{k}={v}")),
    )  # fmt: skip


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Pixels]]:
    """The tiles that reach the encoder, by slide: of the source, then of the target."""
    found: list[Pixels] = []
    add = FeatureSink.add

    def keep(sink: FeatureSink, tiles: Pixels) -> None:
        found.append(tiles.copy())
        add(sink, tiles)

    monkeypatch.setattr(FeatureSink, "add", keep)
    yield found


def scaled(pixels: Pixels, factor: float) -> Pixels:
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def apart(one: Pixels, other: Pixels) -> float:
    """Mean difference, in grey levels."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_a_collapse_is_warned_of_and_its_figures_are_kept(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """Entropy alone parts a target of one mode nowhere: it gives all of it one class."""
    camera, out = tmp_path / "camera", tmp_path / "m.pt"
    camera.mkdir()
    for i, factor in enumerate(np.linspace(0.65, 0.75, NUM)):  # between the source's 0.45 and 1
        pixels = tissue_pixels(EDGE, EDGE, seed=100 + i) * factor
        Image.fromarray(pixels.astype(np.uint8)).save(camera / f"p{i:02}.png")
    done = adapt(
        domains[0], camera, out, weights, "--target-mpp", 0.5, method="entropy", steps=150,
        terms="{entropy: 1000}", ramp=0, normalization="source", learning_rate=0.003,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = (
        "warning: only 0.0% of the target's tiles are called benign. Unless that is so, the "
        "classes have collapsed: look at some, or train with --method source"
    )
    assert line in done.stdout.splitlines()
    card = load_classifier(out)[0]
    assert card.metrics["share_0"] == 0.0 and card.metrics["source_only_share_0"] >= 0.2
    assert line in warnings_of(card.metrics, card.grades)  # the card holds what it was told by
    said = json.loads((tmp_path / "m.run" / "run.json").read_text())["card"]["metrics"]
    assert said == card.metrics
    assert "share called benign 0.000, by the source alone 0." in done.stdout
    assert card.warnings == (line,)
    words = ("--out", tmp_path / "p.csv", "--weights", weights, "--assume-mpp", 0.5)
    done = pathology("predict", out, camera, *words)
    assert f"The model was saved with a {line}" in done.stdout.splitlines(), done.stderr


def test_pictures_of_differing_resolution_are_cut_to_the_sources_physical_size(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, seen: list[Pixels]
) -> None:
    rows, whole, camera = [], [], tmp_path / "camera"
    camera.mkdir()
    for i in range(NUM):
        factor = (1.0, 2.0, 4.0)[i % 3]  # at 0.5, 0.25 and 0.125 um/px: each shows 32 um
        pixels = tissue_pixels(4 * EDGE, 4 * EDGE, seed=100 + i) // (1 + i % 2)
        Image.fromarray(scaled(pixels, factor / 4)).save(camera / f"p{i}.png")
        rows.append([f"p{i}", camera / f"p{i}.png", 0.5 / factor])
        whole.append(scaled(pixels, 1 / 4))
    target = tmp_path / "target.csv"
    with target.open("w", newline="") as stream:
        csv.writer(stream).writerows([["slide_id", "slide_path", "mpp"], *rows])
    done = adapt(domains[0], target, tmp_path / "m.pt", weights, steps=5)
    assert done.returncode == 0, done.stderr
    card = load_classifier(tmp_path / "m.pt")[0]
    assert card.tiles.mpp == 0.5 and card.num_tiles["target"] == NUM  # one tile of each
    for tiles, wanted in zip(seen[NUM:], whole, strict=True):
        assert tiles.shape == (1, EDGE, EDGE, 3) and apart(tiles[0], wanted) < 3


def nuclei(number: int, edge: int, radius: float) -> Pixels:
    """Pictures of two classes in turn, which differ in color."""
    return disks(number, edge, radius, ((110, 70, 150), (60, 30, 90))[number % 2])


def write_disks(folder: Path, num: int, edge: int, radius: float, seed: int) -> Path:
    folder.mkdir()
    for i in range(num):
        Image.fromarray(nuclei(seed + i, edge, radius)).save(folder / f"p{i:02}.png")
    return folder


def test_a_scale_that_is_guessed_is_said_kept_and_cut_by(
    weights: Path, tmp_path: Path, seen: list[Pixels]
) -> None:
    """Nuclei of 8 px where the source's have 4 px at 0.5 um: pixels of 0.25 um."""
    slides = write_disks(tmp_path / "slides", NUM, EDGE, 4, 0)
    camera = write_disks(tmp_path / "camera", NUM_GUESSED, 2 * EDGE, 8, 1000)
    source, out = write_manifest(tmp_path / "source.csv", slides), tmp_path / "m.pt"
    done = adapt(source, camera, out, weights, "--target-mpp", "auto", steps=5)
    assert done.returncode == 0, done.stderr
    guess = json.loads((tmp_path / "m.run" / "run.json").read_text())["assumed_mpp"]
    assert 0.25 / 1.3 < guess < 0.25 * 1.3
    assert f"the target's pixels look like {guess:g} um, a guess from {NUM_GUESSED} pictures" in (
        done.stdout
    )
    assert "off by up to 1.7. If you know better, give --target-mpp" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"--assume-mpp {guess:g}")
    assert load_classifier(out)[0].tiles.mpp == 0.5
    for i, tiles in enumerate(seen[NUM:]):
        picture = nuclei(1000 + i, 2 * EDGE, 8)
        corner = scaled(picture, guess / 0.5)[:EDGE, :EDGE]
        assert apart(tiles[0], corner) < 3 < apart(tiles[0], picture[:EDGE, :EDGE])


def test_a_scale_that_cannot_be_guessed_is_asked_for(weights: Path, tmp_path: Path) -> None:
    slides = write_disks(tmp_path / "slides", NUM, EDGE, 4, 0)
    camera = write_disks(tmp_path / "camera", 3, 2 * EDGE, 8, 1000)
    source = write_manifest(tmp_path / "source.csv", slides)
    done = adapt(source, camera, tmp_path / "m.pt", weights, "--target-mpp", "auto", steps=5)
    assert done.returncode == 2 and not (tmp_path / "m.pt").exists()
    assert "camera: 3 pictures are too few to tell. Give --target-mpp a number" in done.stderr


def test_the_temperature_softens_what_predict_writes_and_keeps_its_order(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(name: str) -> CompletedProcess[str]:
        done = adapt(*domains, tmp_path / name, weights, "--target-mpp", 0.5, steps=100)
        assert done.returncode == 0, done.stderr
        return done

    said = train("cool.pt").stdout
    temperature = load_classifier(tmp_path / "cool.pt")[0].metrics["temperature"]
    assert temperature > 1.2
    assert (
        f"temperature {temperature:.3f} (fitted on the source: where the target is unlike it, "
        "probabilities may still be wrong)"
    ) in said
    monkeypatch.setattr(adapt_scores, "fit_temperature", lambda logits, labels: 1.0)
    train("hot.pt")
    found = {}
    for name in ("cool", "hot"):
        table = tmp_path / f"{name}.csv"
        done = pathology(
            "predict", tmp_path / f"{name}.pt", domains[1], "--out", table, "--weights", weights,
            "--assume-mpp", 0.5, "--device", "cpu",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = csv.DictReader(table.read_text().splitlines())
        found[name] = np.array([float(row["prob_malignant"]) for row in rows])
    cool, hot = found["cool"], found["hot"]
    sure = [np.abs(one - 0.5) for one in (cool, hot)]
    assert (sure[0] < sure[1]).all() and ((cool > 0.5) == (hot > 0.5)).all()
    order = np.argsort(cool)
    assert (np.diff(hot[order]) >= 0).all()
    inner = (hot > 1e-3) & (hot < 1 - 1e-3)  # tables have six decimals
    assert inner.any()
    logits = [np.log(one[inner] / (1 - one[inner])) for one in (cool, hot)]
    assert logits[1] == pytest.approx(temperature * logits[0], rel=0.02, abs=0.02)
