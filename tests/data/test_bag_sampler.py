"""Batches of bags: every grade and every slide alike, no tile twice without need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathology.data.bag_sampler import draw_bags
from pathology.data.tile_source import SlideTable


def table(grades: list[int], nums: list[int]) -> SlideTable:
    ids = tuple(f"s{number}" for number in range(len(grades)))
    return SlideTable(ids, np.array(grades), np.array(nums))


def test_a_small_slide_counts_as_much_as_a_large_one() -> None:
    slides = table([0, 0, 1, 1, 1, 2], [50, 50_000, 7, 300, 20, 90])
    random, seen = np.random.default_rng(0), np.zeros(6)
    for _ in range(600):
        drawn, _ = draw_bags(random, slides, 6, 1)
        np.add.at(seen, drawn, 1)
        assert np.bincount(slides.grade_S[drawn]).tolist() == [2, 2, 2]
    share = seen / seen.sum()
    assert share == pytest.approx([1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9, 1 / 3], abs=0.02)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=9),
    st.integers(1, 7), st.integers(1, 12), st.integers(0, 99),
)  # fmt: skip
def test_always(slides: list[tuple[int, int]], num: int, tiles: int, seed: int) -> None:
    found = table([g for g, _ in slides], [n for _, n in slides])
    if not found.num_S.any():
        return
    drawn, rows = draw_bags(np.random.default_rng(seed), found, num, tiles)
    assert rows.shape == (num, tiles)
    for slide, row in zip(drawn.tolist(), rows, strict=True):
        own = found.rows(slide)
        assert np.isin(row, own).all()
        count = np.bincount(row - own[0], minlength=len(own))
        assert count.max() - count.min() <= 1
    per_grade = np.bincount(found.grade_S[drawn], minlength=3)
    there = np.unique(found.grade_S[found.num_S > 0])
    assert per_grade[there].max() - per_grade[there].min() <= 1


def test_the_same_seed_draws_the_same() -> None:
    slides = table([0, 1, 2], [9, 9, 9])
    one, other = (draw_bags(np.random.default_rng([3, 4]), slides, 4, 5) for _ in range(2))
    assert (one[0] == other[0]).all() and (one[1] == other[1]).all()
