"""The styles of a store's tiles, kept beside them: what is damaged there is measured anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pathology.stain.config import StainConfig
from pathology.stain.matrix import are_stains
from pathology.tiling.store import open_tiles
from pipelines.stain_styles import COLUMN, list_styles, styles_of
from pipelines.tile_samples import sample_slides
from tests.stain.synthetic import MATRIX, he_tiles
from tests.stain.test_normalize_store import make_store

CONFIG = StainConfig()


def set_to(*values: float) -> Callable[[np.ndarray], None]:
    def change(matrices: np.ndarray) -> None:
        matrices[:, 1] = values

    return change


def e_is_h(matrices: np.ndarray) -> None:
    matrices[:, 1] = matrices[:, 0]


def longer(matrices: np.ndarray) -> None:
    matrices *= 1.5


@pytest.mark.parametrize(
    "change",
    [e_is_h, longer, set_to(0, 0, 0), set_to(np.inf, 0, 0), set_to(np.nan, 1, 0)],
    ids=["E is H", "long", "zero", "infinite", "nan"],
)
def test_matrices_that_are_no_two_stains_are_measured_anew(
    tmp_path: Path, change: Callable[[np.ndarray], None]
) -> None:
    path = make_store(tmp_path / "slide.zarr", he_tiles(6, 64))
    (slide,) = sample_slides(path, size_px=64, tiles_per_slide=6)
    first = styles_of(slide, CONFIG)
    spoilt = first.copy()
    change(spoilt)
    (path / COLUMN / "c" / "0" / "0" / "0").write_bytes(spoilt.astype("<f4").tobytes())
    (row,) = list_styles(path, CONFIG, 6)
    assert np.array(row.eosin.split(), float) == pytest.approx(MATRIX[1], abs=0.05)
    assert (styles_of(slide, CONFIG) == first).all()
    assert (open_tiles(path).columns[COLUMN] == first).all()  # and kept for the next time


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c/0/0/0", b"\0" * 30),
        ("c/0/0/0", b""),
        ("zarr.json", b'{"shape": [6, 2'),
        ("zarr.json", b"[]"),
        ("zarr.json", b'{"attributes": null}'),
    ],
    ids=["cut short", "empty", "half a JSON", "a list", "without attributes"],
)
def test_a_damaged_column_is_measured_anew(tmp_path: Path, name: str, data: bytes) -> None:
    path = make_store(tmp_path / "slide.zarr", he_tiles(6, 64))
    (slide,) = sample_slides(path, size_px=64, tiles_per_slide=6)
    first = styles_of(slide, CONFIG)
    (path / COLUMN / name).write_bytes(data)
    (row,) = list_styles(path, CONFIG, 6)
    assert not row.problem and row.num_tiles == 6
    assert (styles_of(slide, CONFIG) == first).all()
    assert (open_tiles(path).columns[COLUMN] == first).all()


def test_a_column_of_fewer_tiles_is_measured_anew(tmp_path: Path) -> None:
    paths = [make_store(tmp_path / str(num) / "s.zarr", he_tiles(num, 64)) for num in (4, 6)]
    few, many = (sample_slides(p, size_px=64, tiles_per_slide=6)[0] for p in paths)
    first = styles_of(many, CONFIG)
    styles_of(few, CONFIG)
    shutil.rmtree(paths[1] / COLUMN)
    shutil.copytree(paths[0] / COLUMN, paths[1] / COLUMN)  # of the same name
    assert (styles_of(many, CONFIG) == first).all()


def test_what_two_stains_are() -> None:
    good = np.array([[0.6, 0.8, 0.0], [0.0, 0.8, 0.6]])
    near = np.array([good[0], [0.6, 0.8, 1e-3]])
    odd = [np.full((2, 3), value) for value in (0.0, np.nan, np.inf)]
    bad = [near, good * 1.1, good * [[1], [1e30]], *odd]
    assert are_stains(np.stack([good, *bad])).tolist() == [True] + [False] * len(bad)
    assert are_stains(np.zeros((0, 2, 3), np.float32)).tolist() == []
