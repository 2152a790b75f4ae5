"""Seams: none gives about one, a planted one is found, and neighbors are those that touch."""

import numpy as np
import pytest

from pathology.stain.seams import border_steps, mosaic_seams, neighbors, seam_score
from tests.conftest import tissue_pixels

TILE = 61  # the texture has a period of 8: borders must not all meet the same phase


def mosaic() -> np.ndarray:
    return tissue_pixels(1024, 1024, seed=2)[256:744, 256:744]


def shaded(strength: float, seed: int = 0) -> np.ndarray:
    """The mosaic, each tile lighter or darker as a whole, as tile-wise statistics leave it."""
    picture = mosaic().astype(float)
    random = np.random.default_rng(seed)
    num = len(picture) // TILE
    shift = random.choice([-strength, strength], (num, num, 3))
    picture += shift.repeat(TILE, axis=0).repeat(TILE, axis=1)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def test_a_picture_in_one_piece_has_no_seams() -> None:
    score = mosaic_seams(mosaic(), TILE)
    assert score.num_borders == 2 * 8 * 7
    assert score.ratio == pytest.approx(1, abs=0.05)
    assert score.offset_ratio == pytest.approx(1, abs=0.35)


def test_planted_seams_are_found() -> None:
    strong = mosaic_seams(shaded(12), TILE)
    assert strong.ratio > 1.5 and strong.offset_ratio > 5


def test_a_seam_that_hides_in_texture_shows_in_the_offset() -> None:
    clean, faint = mosaic_seams(mosaic(), TILE), mosaic_seams(shaded(2), TILE)
    assert faint.ratio < 1.15
    assert faint.offset_ratio > 1.4 * clean.offset_ratio


def test_steps_of_known_pictures() -> None:
    left, right = np.full((20, 20, 3), 100, np.uint8), np.full((20, 20, 3), 130, np.uint8)
    assert border_steps(left, right) == (30, 0, 30, 0)
    ramp = np.tile(np.arange(40, dtype=np.uint8)[None, :, None] * 3, (20, 1, 3))
    steps = border_steps(ramp[:, :20], ramp[:, 20:])
    assert steps == (3, 3, 3, 3)
    assert seam_score([steps, steps]) == (1, 1, 2)


def test_flat_tiles_and_no_borders() -> None:
    flat = np.full((20, 20, 3), 100, np.uint8)
    assert seam_score([border_steps(flat, flat)]) == (1, 1, 1)
    assert seam_score([border_steps(flat, flat + 1)]).ratio == np.inf
    empty = seam_score([])
    assert np.isnan(empty.ratio) and empty.num_borders == 0


def test_neighbors_touch_along_a_whole_border() -> None:
    corners = np.array([[0, 0], [100, 0], [0, 81], [100, 80], [250, 80], [10, 160]])
    assert neighbors(corners, (100, 80)).tolist() == [[0, 1, 0], [0, 2, 1], [1, 3, 1]]
    assert neighbors(np.zeros((0, 2), np.int64), (100, 80)).shape == (0, 3)
