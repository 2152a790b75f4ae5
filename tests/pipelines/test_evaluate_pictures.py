"""Tiles of labelled flat pictures are judged by the pictures' labels, those of slides never."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pathology.core.table import csv_text
from pathology.models.card import ModelCard, TileContract, save_classifier
from pathology.models.encoder import make_encoder
from pipelines.features import weights_digest
from pipelines.predict import predict
from pipelines.prediction_tables import slides_table
from tests.conftest import tissue_pixels, write_pyramid
from tests.in_process import pathology
from tests.pipelines.adapt_cohort import EDGE
from tests.pipelines.small_encoder import NAME, NUM_FEATURES

GRADES = ("benign", "malignant")
NUM, TILES = 4, 4  # pictures, and tiles of each


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A classifier that nobody taught: its answers do not matter here."""
    encoder = make_encoder(NAME, weights=weights)
    tiles = TileContract(
        size_px=EDGE, mpp=0.5, encoder=NAME, weights=weights_digest(encoder),
        num_features=NUM_FEATURES,
    )  # fmt: skip
    settings = {"width": 0, "dropout": 0.0}
    card = ModelCard(grades=GRADES, tiles=tiles, method="source", settings=settings, task="adapt")
    torch.manual_seed(0)
    head = {"bag.head.weight": torch.randn(2, NUM_FEATURES), "bag.head.bias": torch.zeros(2)}
    path = tmp_path_factory.mktemp("model") / "m.pt"
    save_classifier(path, card, head)
    return path


def write_labels(path: Path, rows: list[list[object]]) -> Path:
    path.write_text(csv_text([["slide_id", "case_id", "slide_path", "label", "mpp"], *rows]))
    return path


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of pictures of four tiles each; the last has no label."""
    folder, rows = tmp_path_factory.mktemp("camera"), list[list[object]]()
    for i in range(NUM):
        pixels = tissue_pixels(2 * EDGE, 2 * EDGE, seed=i)
        cv2.imwrite(str(folder / f"p{i}.png"), (pixels * (0.45 if i % 2 else 1.0)).astype(np.uint8))
        rows.append([f"p{i}", f"c{i}", f"p{i}.png", "" if i == NUM - 1 else GRADES[i % 2], 0.5])
    return write_labels(folder / "camera.csv", rows)


def share_right(table: Path, truth: dict[str, str]) -> float:
    """Accuracy of tiles, counted by hand."""
    rows = [r for r in csv.DictReader(table.read_text().splitlines()) if truth.get(r["slide_id"])]
    answers = [max(GRADES, key=lambda grade: float(row[f"prob_{grade}"])) for row in rows]
    return float(np.mean([truth[r["slide_id"]] == a for r, a in zip(rows, answers, strict=True)]))


def judged(table: Path, labels: Path, out: Path) -> tuple[dict, str]:  # type: ignore[type-arg]
    done = pathology("evaluate", table, "--labels", labels, "--out", out)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "metrics.json").read_text()), done.stdout


def num_tiles(facts: dict) -> int:  # type: ignore[type-arg]
    return int(np.sum(facts["confusion"]["tile"]))


def test_a_pictures_label_is_that_of_its_tiles(
    camera: Path, model: Path, weights: Path, tmp_path: Path
) -> None:
    table = tmp_path / "p.csv"
    done = pathology(
        "predict", model, camera, "--out", table, "--weights", weights, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    slides = list(csv.DictReader(slides_table(table).read_text().splitlines()))
    assert [row["is_picture"] for row in slides] == ["true"] * NUM
    facts, said = judged(table, camera, tmp_path / "e")
    truth = {f"p{i}": GRADES[i % 2] for i in range(NUM - 1)}
    assert facts["tile_truth"] == "picture labels" and num_tiles(facts) == TILES * (NUM - 1)
    found = facts["tile"]["all"]
    assert found["accuracy"]["value"] == pytest.approx(share_right(table, truth))
    assert found["num_cases"] == NUM - 1 and found["balanced_accuracy"]["value"] is not None
    assert f"tiles (by picture labels) of {NUM - 1} cases:" in said
    table.with_suffix(".run.json").unlink()  # the table of slides says it, too
    assert judged(table, camera, tmp_path / "again")[0]["tile"] == facts["tile"]


def test_a_slides_label_is_none_of_its_tiles_and_maps_come_first(
    camera: Path, model: Path, weights: Path, tmp_path: Path
) -> None:
    slide = write_pyramid(tmp_path / "s.tif", tissue_pixels(1200, 900), mpp=0.5)
    cv2.imwrite(str(tmp_path / "map.png"), np.array([[1, 2], [0, 2]], np.uint8))
    rows: list[list[object]] = [
        ["s", "cs", slide, "malignant", 0.5, "wsi", ""],
        ["p0", "c0", camera.parent / "p0.png", "benign", 0.5, "microscope", ""],
        ["p1", "c1", camera.parent / "p1.png", "malignant", 0.5, "microscope", "map.png"],
    ]
    heads = ["slide_id", "case_id", "slide_path", "label", "mpp", "domain", "truth_path"]
    labels, table = tmp_path / "labels.csv", tmp_path / "p.csv"
    labels.write_text(csv_text([heads, *rows]))
    done = pathology(
        "predict", model, labels, "--out", table, "--weights", weights, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    said = {
        row["slide_id"]: (row["is_picture"], int(row["num_tiles"]))
        for row in csv.DictReader(slides_table(table).read_text().splitlines())
    }
    assert {name: flat for name, (flat, _) in said.items()} == {
        "s": "false", "p0": "true", "p1": "true"
    }  # fmt: skip
    facts, _ = judged(table, labels, tmp_path / "e")
    assert facts["tile_truth"] == "maps of grades, picture labels"
    rows_of = [r["slide_id"] for r in csv.DictReader(table.read_text().splitlines())]
    confusion = np.array(facts["confusion"]["tile"])
    assert rows_of.count("s") == said["s"][1] > 0
    assert confusion.sum() == rows_of.count("p0") + 3  # of the map one tile is glass
    assert confusion[1].sum() == 2 and facts["tile"]["all"]["upper_rate"]["value"] is not None
    only = write_labels(tmp_path / "only.csv", [["s", "cs", slide, "malignant", 0.5]])
    facts, said_of_slide = judged(table, only, tmp_path / "slide")
    assert facts["tile_truth"] is None and num_tiles(facts) == 0
    assert facts["tile"]["all"]["accuracy"]["value"] is None and "(by" not in said_of_slide


def test_features_of_pictures_know_it_and_older_tables_do_not(
    camera: Path, model: Path, weights: Path, tmp_path: Path
) -> None:
    run, features = tmp_path / "run", tmp_path / "features"
    sizes = (
        "--set",
        f"tile.size_px={EDGE}",
        "--set",
        "tile.mpp=0.5",
        "--set",
        "tissue.method=none",
    )
    assert pathology("tile", camera, "--out", run, *sizes, "--workers", 0).returncode == 0
    done = pathology(
        "features", run, "--out", features, "--encoder", NAME, "--weights", weights, "--device",
        "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    predict(model, features, tmp_path / "p.csv")
    facts, _ = judged(tmp_path / "p.csv", camera, tmp_path / "e")
    assert facts["tile_truth"] == "picture labels" and num_tiles(facts) > 0
    table = slides_table(tmp_path / "p.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    names = [name for name in rows[0] if name != "is_picture"]
    table.write_text(csv_text([names, *([row[name] for name in names] for row in rows)]))
    facts, _ = judged(tmp_path / "p.csv", camera, tmp_path / "older")
    assert facts["tile_truth"] is None and num_tiles(facts) == 0
