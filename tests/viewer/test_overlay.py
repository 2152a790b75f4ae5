"""Lattice and suspicious tiles, known on paper."""

import json

import numpy as np
import pytest

from pathology.viewer.overlay import Overlay, lattice_of, most_suspicious


def grid(columns: int, rows: int, step: float, first: tuple[int, int] = (0, 0)) -> np.ndarray:
    x, y = np.meshgrid(np.arange(columns) * step + first[0], np.arange(rows) * step + first[1])
    return np.rint(np.stack([x.ravel(), y.ravel()], axis=1)).astype(np.int64)


def test_a_plain_grid_is_its_own_lattice() -> None:
    found = lattice_of(grid(4, 3, 512, (100, 700)), 512)
    assert found.l0_xy == (100, 700)
    assert found.l0_step == (512, 512)
    assert found.size == (4, 3)
    assert found.cell_N.tolist() == list(range(12))


def test_gaps_stay_gaps() -> None:
    found = lattice_of(np.array([[0, 0], [512, 0], [5120, 1024]]), 512)
    assert found.size == (11, 3)
    assert found.cell_N.tolist() == [0, 1, 32]


def test_overlapping_tiles_have_cells_in_their_middles() -> None:
    found = lattice_of(grid(5, 5, 128), 512)
    assert found.l0_step == (128, 128)
    assert found.l0_xy == (192, 192)
    assert sorted(found.cell_N.tolist()) == list(range(25))


def test_rounded_corners_do_not_drift() -> None:
    corners = grid(600, 2, 206.45)
    found = lattice_of(corners, 206)
    assert found.size == (600, 2)
    assert sorted(found.cell_N.tolist()) == list(range(1200))


def test_tiles_in_no_order_have_cells_of_their_size() -> None:
    corners = np.random.default_rng(0).integers(0, 100_000, (500, 2))
    found = lattice_of(corners, 256)
    assert found.size[0] <= 2048 and found.size[1] <= 2048
    assert found.cell_N.max() < found.size[0] * found.size[1]


def test_one_tile_and_none() -> None:
    assert lattice_of(np.array([[7, 9]]), 256).size == (1, 1)
    assert lattice_of(np.zeros((0, 2), np.int64), 256).size == (0, 0)


def test_suspicious_tiles_are_the_best_ones_apart() -> None:
    corners = np.array([[0, 0], [100, 0], [200, 0], [900, 900]])
    score = np.array([0.8, 0.9, 0.7, 0.1])
    assert most_suspicious(corners, 100, score).tolist() == [1, 3]
    assert most_suspicious(corners, 100, score, apart_edges=1).tolist() == [1, 0, 2, 3]
    assert most_suspicious(corners, 100, score, num=1).tolist() == [1]


def test_suspicious_tiles_among_many() -> None:
    corners = grid(100, 100, 256)
    score = -np.arange(10_000) / 10_000
    found = most_suspicious(corners, 256, score, num=1000)
    assert len(found) == 1000  # more than lie apart among the best few
    assert found[:50].tolist() == list(range(0, 100, 2))


def test_what_the_page_is_told() -> None:
    chance = np.array([[0.9, 0.1], [0.25, 0.75]])
    said = Overlay(("benign", "malignant"), grid(2, 1, 256), 256, chance).as_json()
    assert json.loads(json.dumps(said))["thousandths"] == [[900, 250], [100, 750]]
    assert said["suspicious"] == [[0], [1]]
    assert said["l0_x"] == [0, 256]
    assert said["lattice"]["l0_step"] == [256.0, pytest.approx(256)]
