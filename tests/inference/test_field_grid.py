"""Where tiles lie on a field, whose turn it is, and how far a field moved."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pathology.inference.field_grid import (
    by_distance,
    plan_field,
    shift_between,
    spread,
    whose_turn,
)
from tests.inference.conftest import scene


@given(side=st.integers(32, 3000), edge=st.integers(16, 600))
def test_squares_cover_a_side_without_gaps_and_as_few_as_can(side: int, edge: int) -> None:
    if side < edge:
        return
    at = spread(side, edge)
    assert at[0] == 0 and at[-1] + edge == side if len(at) > 1 else at == [0]
    assert len(at) == -(-side // edge)
    assert all(0 < b - a <= edge for a, b in pairwise(at))


def test_a_full_hd_field_of_the_default_model() -> None:
    plan = plan_field((1920, 1080), 0.345, 224, 0.62)
    assert plan.size_px == (1068, 601) and len(plan.xy) == 15
    assert plan.scale * 1068 == np.float64(1920).item() or abs(plan.scale * 1068 - 1920) < 1
    assert by_distance(plan, 224)[0] == 7  # the middle one of five times three
    assert len(plan_field((300, 200), 0.345, 224, 0.62).xy) == 0


def test_the_budget_goes_round() -> None:
    order = np.array([2, 1, 3, 0, 4])
    age, wanted = np.full(5, 100), np.array([True, True, True, True, False])
    seen = []
    for _ in range(4):
        age += 1
        rows = whose_turn(wanted, age, order, 2)
        age[rows] = 0
        seen.append(rows.tolist())
    assert seen == [[2, 1], [3, 0], [2, 1], [3, 0]]


def test_shifts_are_found_and_other_places_are_not() -> None:
    whole = scene(400, 300)[..., 1]
    one = whole[50:150, 50:210]
    assert shift_between(one, one) < 0.05
    moved = shift_between(one, whole[56:156, 58:218])
    assert moved is not None and abs(moved - 10) < 0.5
    assert shift_between(one, scene(400, 300, seed=9)[50:150, 50:210, 1]) is None
    assert shift_between(one, one[:50]) is None
