"""Tiles drawn so that centres and slides count alike, whatever their sizes."""

import numpy as np
import pytest

from pathology.data.tile_pool import TilePool


def slide(num: int, shade: int, size: int = 12) -> np.ndarray:
    """Tiles of one shade, darker from left to right."""
    ramp = np.arange(size, dtype=np.uint8)[None, None, :, None]
    return np.full((num, size, size, 3), shade, np.uint8) + ramp


@pytest.fixture
def pool() -> TilePool:
    shades = [slide(1, 0), slide(50, 50), slide(2, 100), slide(4, 150)]
    return TilePool.of_slides(shades, ["a", "a", "b", "b"])


def test_a_slide_of_one_tile_counts_as_one_of_fifty(pool: TilePool) -> None:
    rows = pool.choose(np.random.default_rng(0), 2000)
    shares = np.bincount(pool.slide_N[rows], minlength=4) / 2000
    assert shares == pytest.approx([0.25] * 4, abs=0.04)


def test_pieces_come_from_the_tiles_that_are_named(pool: TilePool) -> None:
    pieces, rows = pool.draw(np.random.default_rng(1), 64, 5)
    assert pieces.shape == (64, 5, 5, 3)
    shades = np.array([0, 50, 100, 150])[pool.slide_N[rows]]
    assert (pieces.reshape(64, -1).min(axis=1) // 50 * 50 == shades).all()


def test_pieces_are_turned_all_four_ways(pool: TilePool) -> None:
    pieces, _ = pool.draw(np.random.default_rng(2), 200, 6)
    grey = pieces[..., 0].astype(int)
    right, down = np.sign(grey[:, 0, 5] - grey[:, 0, 0]), np.sign(grey[:, 5, 0] - grey[:, 0, 0])
    ways, counts = np.unique(np.stack([right, down], 1), axis=0, return_counts=True)
    assert sorted(map(tuple, ways.tolist())) == [(-1, 0), (0, -1), (0, 1), (1, 0)]
    assert counts.min() > 25


def test_the_same_random_numbers_draw_the_same(pool: TilePool) -> None:
    one, other = (pool.draw(np.random.default_rng([3, 7]), 8, 4) for _ in range(2))
    assert (one.pixels_BHW3 == other.pixels_BHW3).all()
    assert (one.tile_B == other.tile_B).all()


def test_the_digest_knows_every_pixel(pool: TilePool) -> None:
    changed = pool.tiles_NHW3.copy()
    changed[3, 2, 1, 0] += 1
    other = TilePool(changed, pool.slide_N, pool.centre_N)
    assert other.digest != pool.digest
    assert TilePool(pool.tiles_NHW3, pool.slide_N, pool.centre_N).digest == pool.digest
