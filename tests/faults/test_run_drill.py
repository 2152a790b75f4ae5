"""A whole run that is killed in each of its stages ends as one that was not; a full disk, too."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import HERE, command, environment, same_tiles

from pathology.interop.h5_features import read_features
from pathology.models.card import load_classifier
from pathology.tiling.store import open_tiles
from tests.pipelines.small_encoder import SMALLEST, write_weights
from tests.pipelines.test_run import SETTINGS, STAGES, run, write_slides

TABLES = (
    "predictions.csv", "predictions.slides.csv", "evaluation/metrics.csv", "microscope/dman.csv",
    "microscope/source.csv", "microscope/target.csv", "microscope/evaluation_dman/metrics.csv",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a run that was done once without a fault."""
    folder = tmp_path_factory.mktemp("drill")
    write_slides(folder)
    write_weights(folder / "encoder.pt", name=SMALLEST)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    assert run(path, workers=0) == 1  # one slide is broken
    return path


def stages(out: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((out / "stages.json").read_text())["stages"]
    return found


def require_same(out: Path, whole: Path) -> None:
    """Everything that a run makes is there, the same, and nothing half-made beside it."""
    for name in TABLES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("grades.pt", "microscope/dman.pt"):
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


def test_killed_in_every_stage(settings: Path, tmp_path: Path) -> None:
    whole = settings.parent / "run"
    plan = [(name, 0.15 * stages(whole)[name]["seconds"]) for name in STAGES]
    words = [HERE / "drill_program.py", settings, tmp_path / "run", json.dumps(plan)]
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 1  # the broken slide, and nothing else
    hit = [name for name, seen in zip(STAGES, found["seen"], strict=True) if name not in seen]
    assert len(hit) > len(STAGES) / 2  # the others were just done when the signal came
    require_same(tmp_path / "run", whole)


def test_files_too_large_cost_a_stage_and_are_told_in_a_line(
    settings: Path, tmp_path: Path
) -> None:
    words = command(
        "run", settings, "--set", f"out={tmp_path / 'run'}", "--workers", "0", "--device", "cpu"
    )
    limit = 60_000  # bytes: more than any table, less than the model of the slides

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    full = subprocess.run(
        words, env=environment(), capture_output=True, text=True, preexec_fn=small
    )
    assert full.returncode == 1, full.stderr
    assert "Traceback" not in full.stdout + full.stderr
    assert "File too large" in full.stdout
    assert not (tmp_path / "run" / "microscope" / "dman.pt").exists()
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # the broken slide alone
    assert "failed" not in {line.split(": ")[-1] for line in done.stdout.splitlines()}
    require_same(tmp_path / "run", settings.parent / "run")
    assert (tmp_path / "run" / "grades.pt").stat().st_size > limit  # so there was no room for it
