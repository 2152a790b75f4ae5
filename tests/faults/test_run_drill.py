"""A whole run that is killed in each of its stages, or finds no room, ends as one that was not."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import HERE, environment, same_tiles

from pathology.interop.h5_features import read_features
from pathology.models.card import load_classifier
from pathology.tiling.store import open_tiles
from tests.pipelines.small_encoder import SMALLEST, write_weights
from tests.pipelines.test_run import SETTINGS, STAGES, write_slides

TABLES = (
    "predictions.csv", "predictions.slides.csv", "evaluation/metrics.csv",
    "microscope/dman+mcc.csv", "microscope/dman+mcc.slides.csv",
)  # fmt: skip
Drill = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Drill:
    """The folder of the runs, and what was seen."""
    folder = tmp_path_factory.mktemp("drill")
    write_slides(folder)
    write_weights(folder / "encoder.pt", name=SMALLEST)
    microscope = {"images": "pictures.csv", "compare": []}
    (folder / "run.yaml").write_text(yaml.safe_dump(SETTINGS | {"microscope": microscope}))
    words = [sys.executable, str(HERE / "drill_program.py"), str(folder / "run.yaml"), str(folder)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["whole"]["code"] == 1, found["whole"]["said"]  # one slide is broken
    return folder, found


def values(path: Path) -> list[list[object]]:
    """The cells of a table; numbers are compared loosely, for other blocks may round otherwise."""
    with path.open(newline="") as stream:
        return [[value(cell) for cell in row] for row in csv.reader(stream)]


def value(cell: str) -> object:
    try:
        return float(cell)
    except ValueError:
        return cell


def require_same(out: Path, whole: Path) -> None:
    """Everything that a run makes is there, the same, and nothing half-made beside it."""
    for name in TABLES:
        for row, other in zip(values(out / name), values(whole / name), strict=True):
            assert [type(cell) for cell in row] == [type(cell) for cell in other], name
            for cell, same in zip(row, other, strict=True):
                close = (
                    pytest.approx(same, abs=2e-3, nan_ok=True) if isinstance(same, float) else same
                )
                assert cell == close, name
    for name in ("grades.pt", "microscope/dman+mcc.pt"):
        (card, one), (_, other) = load_classifier(out / name), load_classifier(whole / name)
        assert card.grades == ("benign", "malignant")
        assert all(torch.allclose(one[key], other[key], atol=1e-6) for key in other), name
    for kind in ("tiles", "stain/tiles"):
        stores = sorted((whole / kind).glob("*.zarr"))
        assert len(stores) == 12
        assert all(same_tiles(open_tiles(out / kind / s.name), open_tiles(s)) for s in stores)
    for path in (whole / "features").glob("*.h5"):
        found = read_features(out / "features" / path.name).features_NF
        wanted = read_features(path).features_NF  # of another process, which may round otherwise
        assert np.allclose(found, wanted, atol=1e-6), path.name
    left = [path for path in out.rglob(".*") if not path.name.startswith(".z")]
    assert not left
    assert (out / "report.html").is_file()


def test_killed_in_every_stage(drill: Drill) -> None:
    folder, found = drill
    assert list(found["seen"]) == STAGES
    hit = [name for name, seen in found["seen"].items() if name not in seen]
    assert len(hit) > len(STAGES) / 2  # the others were just done when the signal came
    assert found["killed"]["code"] == 1  # the broken slide, and nothing else
    require_same(folder / "killed", folder / "whole")


def test_files_too_large_cost_a_stage_and_are_told_in_a_line(drill: Drill) -> None:
    folder, found = drill
    assert found["full"]["code"] == 1
    assert "weak: failed, File too large" in found["full"]["said"]
    assert "adapt: left out, it needs predict" in found["full"]["said"]
    assert not found["left"]
    assert found["emptied"]["code"] == 1  # the broken slide, and nothing else
    assert ": failed, " not in found["emptied"]["said"].split("Research use only.")[1]
    require_same(folder / "full", folder / "whole")
