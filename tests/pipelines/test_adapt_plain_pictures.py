"""Pictures that state no resolution, from three columns to figures, by commands alone."""

import csv
import json
from pathlib import Path

import cv2
import pytest

from pathology.models.card import load_classifier
from tests.in_process import pathology
from tests.pipelines.adapt_cohort import NUM, SETTINGS, write_pictures

SETS = [w for k, v in SETTINGS.items() for w in ("--set", f"{k}={v}")]


def three_columns(path: Path, folder: Path, labels: tuple[str, str]) -> Path:
    rows = [
        [file, f"c{file.stem}", labels[int(file.stem[1:]) % 2]]
        for file in sorted(folder.glob("*.png"))
    ]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["slide_path", "case_id", "label"], *rows])
    return path


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Manifests of source and target; the target's labels have other names."""
    folder = tmp_path_factory.mktemp("plain")
    slides = write_pictures(folder / "slides", is_target=False)
    camera = write_pictures(folder / "camera", is_target=True)
    for file in (camera / "p0.png", camera / "p1.png"):  # out of focus
        cv2.imwrite(str(file), cv2.GaussianBlur(cv2.imread(str(file)), (0, 0), 6))
    source = three_columns(folder / "source.csv", slides, ("benign", "malignant"))
    return source, three_columns(folder / "target.csv", camera, ("n", "aca"))


@pytest.mark.parametrize("mpp", [(), ("--mpp", 0.62, "--target-mpp", 0.62)])
def test_from_three_columns_to_figures(
    sides: tuple[Path, Path], weights: Path, tmp_path: Path, mpp: tuple[object, ...]
) -> None:
    source, target = sides
    model, table, figures = (tmp_path / name for name in ("m.pt", "p.csv", "eval"))
    done = pathology(
        "train", "adapt", "--source", source, "--target", target, "--out", model, "--method",
        "dman", "--weights", weights, "--device", "cpu", *SETS, *mpp,
        "--set", "class_map={n: benign, aca: malignant}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert load_classifier(model)[0].tiles.mpp == (0.62 if mpp else None)
    assume = ("--assume-mpp", 0.62) if mpp else ()
    done = pathology(
        "predict", model, target, "--out", table, "--weights", weights, "--device", "cpu", *assume
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert sorted({row["slide_id"] for row in rows}) == sorted(f"p{i}" for i in range(NUM))
    assert len(rows) == NUM  # a tile of each, those that are out of focus among them
    done = pathology("evaluate", table, "--labels", target, "--out", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads((figures / "metrics.json").read_text())["slide"]["all"]
    assert found["balanced_accuracy"]["value"] >= 0.9 and found["num_cases"] == NUM


@pytest.mark.parametrize(
    ("target_mpp", "said"),
    [
        (8, "8 um/px where 0.5 are needed: too coarse"),
        (0.1, "it shows 6.4 um where a tile shows 32"),
    ],
)
def test_pictures_of_no_common_size_are_refused(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, target_mpp: float, said: str
) -> None:
    done = pathology(
        "train", "adapt", "--source", domains[0], "--target", domains[1], "--out",
        tmp_path / "m.pt", "--weights", weights, "--device", "cpu", *SETS, "--target-mpp",
        target_mpp,
    )  # fmt: skip
    assert done.returncode != 0 and said in done.stderr
    assert not (tmp_path / "m.pt").exists()
