"""Nuclei of a known number: counted, whatever their color; lost and invented ones told apart."""

import numpy as np
import pytest

from pathology.stain.color_distance import stain_matrix_of, white_of
from pathology.stain.config import StainConfig
from pathology.stain.nuclei import (
    NucleiChange,
    compare_nuclei,
    find_nuclei,
    hematoxylin,
    nuclei_change,
)
from tests.stain.synthetic import MATRIX

CONFIG = StainConfig()
DIAMETER, EDGE, NUM = 12, 256, 60
OTHER = np.array([[0.52, 0.76, 0.38], [0.15, 0.86, 0.49]])
OTHER /= np.linalg.norm(OTHER, axis=1, keepdims=True)


def places(num: int = NUM, seed: int = 0) -> np.ndarray:
    """Centers of nuclei (num, 2) that do not touch, and lie whole in the tile."""
    random = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    while len(found) < num:
        place = random.uniform(DIAMETER, EDGE - DIAMETER, 2)
        if all(np.linalg.norm(place - other) > 1.6 * DIAMETER for other in found):
            found.append(place)
    return np.array(found)


def tissue(
    centers: np.ndarray, matrix: np.ndarray = MATRIX, gain: float = 1.0, seed: int = 5
) -> np.ndarray:
    """A tile of stroma with nuclei at centers, in stains of a matrix."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:EDGE, :EDGE]
    h = np.full((EDGE, EDGE), 0.12)
    for row, column in centers:
        h[np.hypot(y - row, x - column) < DIAMETER / 2] = random.uniform(0.9, 1.4)
    e = 0.5 + 0.25 * np.sin(x / 9) * np.cos(y / 13)
    e[:, :24] = h[:, :24] = 0.0  # glass
    both = gain * np.stack([h, e], axis=-1)
    light = 243 * np.exp(-both @ matrix) + random.normal(0, 1.5, (EDGE, EDGE, 3))
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def inside(centers: np.ndarray) -> np.ndarray:
    return centers[centers[:, 1] > 24 + DIAMETER]


def amount(tile: np.ndarray) -> np.ndarray:
    tiles = tile[None]
    matrix = stain_matrix_of(tiles, CONFIG)
    assert matrix is not None
    return hematoxylin(tiles, matrix, white_of(tiles, CONFIG))


def test_known_nuclei_are_counted_where_they_are() -> None:
    centers = inside(places())
    found = find_nuclei(amount(tissue(centers))[0], DIAMETER)
    assert len(found) == pytest.approx(len(centers), abs=1)
    nearest = np.linalg.norm(found[:, None] - centers[None], axis=2).min(axis=1)
    assert nearest.max() < DIAMETER / 4


@pytest.mark.parametrize(("matrix", "gain"), [(MATRIX, 0.6), (OTHER, 1.0), (OTHER, 1.5)])
def test_color_alone_does_not_change_the_count(matrix: np.ndarray, gain: float) -> None:
    centers = inside(places())
    change = nuclei_change(amount(tissue(centers)), amount(tissue(centers, matrix, gain)), DIAMETER)
    assert abs(change.num_after - change.num_before) <= 1
    assert max(change.num_lost, change.num_invented) <= 1


def test_lost_and_invented_nuclei_are_told_apart() -> None:
    centers = inside(places())
    before, after = amount(tissue(centers[8:])), amount(tissue(centers[:-5], OTHER))
    change = nuclei_change(before, after, DIAMETER)
    assert change.num_lost == pytest.approx(5, abs=1)
    assert change.num_invented == pytest.approx(8, abs=1)


def test_stroma_alone_has_few_nuclei() -> None:
    tile = tissue(np.zeros((0, 2)))[None]
    found = find_nuclei(hematoxylin(tile, MATRIX, np.full(3, 243.0))[0], DIAMETER)
    assert len(found) <= 2


def test_partners_are_each_others_nearest() -> None:
    before, after = np.array([[0.0, 0], [0, 4], [50, 50]]), np.array([[0.0, 1], [90, 90]])
    assert compare_nuclei(before, after, 5) == NucleiChange(3, 2, 2, 1)
    assert compare_nuclei(before, np.zeros((0, 2)), 5) == NucleiChange(3, 0, 3, 0)


def test_empty_tiles_have_none() -> None:
    nothing = np.zeros((2, 64, 64), np.float32)
    assert nuclei_change(nothing, nothing, DIAMETER) == (0, 0, 0, 0)
    assert nuclei_change(nothing[:0], nothing[:0], DIAMETER) == (0, 0, 0, 0)


def test_the_noise_of_glass_is_no_nuclei() -> None:
    noise = np.random.default_rng(0).normal(240, 3, (1, 128, 128, 3))
    glass = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    assert len(find_nuclei(hematoxylin(glass, MATRIX, np.full(3, 243.0))[0], DIAMETER)) == 0
