"""Weights of rectification: on paper, ties and empty ranges, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from pathology.weak.rectify import Ramp, rectified_weights

LOW, UP = (0.0, 0.3, 0.5), (1.0, 0.3, 0.1)
RAMPS: tuple[Ramp, ...] = ("score", "rank", "hard")


def weights(scores: object, grade: int = 1, ramp: Ramp = "score") -> np.ndarray:
    values = np.asarray(scores, np.float64)
    zeros = np.zeros(len(values), np.int64)
    return rectified_weights(values, zeros, zeros + grade, LOW, UP, ramp)


def test_on_paper() -> None:
    found = weights(np.arange(11) / 10)  # percentiles 30 and 70 are 0.3 and 0.7
    expected = [0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert found == pytest.approx(expected, abs=1e-6)


def test_by_rank_on_paper() -> None:
    found = weights([0.0, 0.01, 0.02, 0.03, 0.04, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95], ramp="rank")
    assert found == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1], abs=1e-6)


def test_hard_has_no_ramp() -> None:
    assert weights(np.arange(11) / 10, ramp="hard").tolist() == [0] * 3 + [1] * 8


def test_grades_have_percentiles_of_their_own() -> None:
    scores = np.tile(np.arange(11) / 10, 3)
    slide = np.repeat([7, 3, 5], 11)
    grade = np.repeat([0, 1, 2], 11)
    found = rectified_weights(scores, slide, grade, LOW, UP).reshape(3, 11)
    assert (found[0] == 1).all()  # nothing milder than the mildest
    assert found[1] == pytest.approx(weights(scores[:11]))
    assert (found[2] == 0).sum() == 6
    assert (found[2] == 1).sum() == 2


@pytest.mark.parametrize("ramp", RAMPS)
def test_equal_scores_weigh_one(ramp: Ramp) -> None:
    assert (weights([0.4] * 7, ramp=ramp) == 1).all()
    assert (weights([1.0], ramp=ramp) == 1).all()
    assert len(weights([], ramp=ramp)) == 0


@pytest.mark.parametrize("ramp", ("score", "rank"))
def test_no_room_between_the_percentiles_weighs_one(ramp: Ramp) -> None:
    scores, zeros = np.arange(5) / 5, np.zeros(5, np.int64)
    found = rectified_weights(scores, zeros, zeros + 1, (0, 0.6), (1, 0.6), ramp)
    assert (found == 1).all()


def test_many_ties_at_the_bottom_are_left_out_together() -> None:
    found = weights([0.0] * 6 + [0.5, 0.9, 1.0, 1.0])
    assert (found[:6] == 0).all()
    assert (np.diff(found[6:]) >= 0).all()
    assert found[-1] == 1


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 scores"):
        weights([0.1, float("nan")])


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40),
    st.sampled_from(RAMPS),
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
def test_always(scores: list[float], ramp: Ramp, grade: int, random: object) -> None:
    values = np.array(scores)
    found = weights(values, grade, ramp)
    assert ((found >= 0) & (found <= 1)).all()
    assert found.max() == 1  # someone always counts fully
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= -1e-6).all()  # more convincing never weighs less
    shuffled = np.array(sorted(range(len(values)), key=lambda i: random.random()))  # type: ignore[attr-defined]
    assert weights(values[shuffled], grade, ramp) == pytest.approx(found[shuffled])


def test_ranks_agree_with_scipy() -> None:
    scores = np.array([0.2, 0.2, 0.9, 0.1, 0.5, 0.5, 0.5, 0.0])
    ranks = (rankdata(scores) - 1) / (len(scores) - 1)
    expected = np.clip((ranks - 0.3) / (0.7 - 0.3), 0, 1)
    assert weights(scores, ramp="rank") == pytest.approx(expected)
