"""Corners, tissue fractions and the order of reading."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pathology.tiling.grid import by_block, tile_grid, tissue_fractions

sizes = st.integers(1, 60)


def test_a_small_slide_has_no_tile() -> None:
    assert tile_grid((199, 300), (200, 200), (200, 200)).shape == (0, 2)


def test_tiles_may_overlap_and_begin_anywhere() -> None:
    found = tile_grid((10, 4), (4, 4), (3, 4), (1, 0)).tolist()
    assert found == [[1, 0], [4, 0]]


@given(width=sizes, height=sizes, w=sizes, h=sizes, dx=sizes, dy=sizes)
def test_every_whole_tile_is_there_once(
    width: int, height: int, w: int, h: int, dx: int, dy: int
) -> None:
    expected = [[x, y] for y in range(0, height - h + 1, dy) for x in range(0, width - w + 1, dx)]
    assert tile_grid((width, height), (w, h), (dx, dy)).tolist() == expected


def test_fractions_count_the_marked_area() -> None:
    mask = np.zeros((10, 20), np.bool_)
    mask[:, :10] = True
    corners = np.array([[0, 0], [900, 0], [1000, 0], [500, 500]])
    found = tissue_fractions(mask, corners, (200, 200), (2000, 1000))
    assert found.tolist() == [1.0, 0.5, 0.0, 1.0]


def test_fractions_of_tiles_smaller_than_a_mask_pixel() -> None:
    mask = np.array([[True, False]])
    found = tissue_fractions(mask, np.array([[0, 0], [99, 0]]), (1, 1), (100, 50))
    assert found.tolist() == [1.0, 0.0]


def test_no_tiles_have_no_fractions() -> None:
    none = np.zeros((0, 2), np.int64)
    assert tissue_fractions(np.ones((2, 2), np.bool_), none, (1, 1), (2, 2)).shape == (0,)
    assert by_block(none, (1, 1)) == []


@given(keep=st.lists(st.integers(0, 399), min_size=1, unique=True), edge=st.integers(1, 9))
def test_blocks_hold_every_corner_once_and_stay_small(keep: list[int], edge: int) -> None:
    corners = tile_grid((200, 200), (10, 10), (10, 10))[keep]
    blocks = by_block(corners, (10, 10), edge)
    together = np.concatenate(blocks)
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, corners.tolist()))
    for block in blocks:
        assert len(np.unique(block // (10 * edge), axis=0)) == 1
        rows = (block[:, 1] * 1000 + block[:, 0]).tolist()
        assert rows == sorted(rows)


def test_block_order_does_not_depend_on_the_order_given() -> None:
    corners = tile_grid((200, 200), (10, 10), (10, 10))
    shuffled = np.random.default_rng(0).permutation(corners)
    a, b = np.concatenate(by_block(corners, (10, 10))), np.concatenate(by_block(shuffled, (10, 10)))
    assert np.array_equal(a, b)
