"""Normalizing on a dask cluster of real processes gives the files of a local run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from distributed import LocalCluster

from tests.conftest import tissue_pixels, write_pyramid
from tests.stain.synthetic import he_tiles
from tests.stain.test_normalize_store import make_store

pytestmark = pytest.mark.filterwarnings("ignore")  # distributed's own, as it shuts down


def apply(source: Path, out: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pipelines", "stain", "apply", source, "--out", out, *words]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def files(folder: Path) -> dict[str, bytes]:
    """Everything but tables and records, which name times."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if path.name not in ("stain.csv", "run.json", "zarr.json")
    }


def test_stores_and_whole_slides_are_the_same(cluster: LocalCluster, tmp_path: Path) -> None:
    run, slides = tmp_path / "run", tmp_path / "slides"
    slides.mkdir()
    for number in range(3):
        make_store(run / "tiles" / f"s{number}.zarr", he_tiles(6, 64, seed=number))
        write_pyramid(slides / f"s{number}.tif", tissue_pixels(700, 600, number))
    for source in (run, slides):
        here, there = tmp_path / f"{source.name} here", tmp_path / f"{source.name} there"
        apply(source, here, "--workers", "0")
        apply(source, there, "--scheduler", cluster.scheduler_address)
        assert len(files(here)) >= 3
        assert files(here) == files(there)
