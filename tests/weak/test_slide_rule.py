"""The slide rule finds rare tumors without calling all slides one, and never contradicts itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathology.weak.slide_rule import (
    QUANTILES,
    SlideRule,
    decide,
    fit_slide_rule,
    grade_of,
    grade_slide,
    severities,
)


def tiles_of(
    random: np.random.Generator, grade: int, share: float, noise: float = 0.03, num: int = 200
) -> np.ndarray:
    """Tiles of a slide: a share of its grade, the rest healthy, and a few that are mistaken."""
    truth = np.where(np.arange(num) < max(1, share * num), grade, 0)
    truth[random.random(num) < noise] = 2
    logits = 4 * np.eye(3)[truth] + random.normal(size=(num, 3))
    made = np.exp(logits)
    return made / made.sum(axis=1, keepdims=True)


def cohort(random: np.random.Generator, num: int) -> tuple[list[np.ndarray], np.ndarray]:
    grades = np.arange(num) % 3
    return [tiles_of(random, g, random.uniform(0.1, 0.5)) for g in grades.tolist()], grades


def test_it_is_not_taken_in_by_a_few_mistaken_tiles() -> None:
    random = np.random.default_rng(0)
    rule = fit_slide_rule(*cohort(random, 18))
    tiles, grades = cohort(random, 60)
    found = np.array([grade_of(grade_slide(rule, t)) for t in tiles])
    assert (found == grades).mean() > 0.9
    naive = np.array([np.sort(t[:, 2])[-len(t) // 50 :].mean() > 0.5 for t in tiles])
    assert naive.mean() > 0.8  # the highest tiles alone call nearly every slide a carcinoma


def test_it_is_calibrated_on_the_slides_it_was_fitted_to() -> None:
    random = np.random.default_rng(1)
    tiles, grades = cohort(random, 90)
    rule = fit_slide_rule(tiles, grades)
    beyond = np.array([grade_slide(rule, t)[1:].sum() for t in tiles])
    assert beyond[grades == 0].mean() < 0.3
    assert beyond[grades > 0].mean() > 0.7


def test_few_slides_make_nobody_sure() -> None:
    """Two slides of each grade, which could not be told apart more easily."""
    tiles = [np.tile(0.9999 * np.eye(3)[g] + 1e-4 / 3, (50, 1)) for g in (0, 0, 1, 1, 2, 2)]
    rule = fit_slide_rule(tiles, np.array([0, 0, 1, 1, 2, 2]))
    found = np.array([grade_slide(rule, t) for t in tiles])
    assert found.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2]
    for sure in (found[0].max(), found[5].max()):
        assert 3 / 4 < sure < 5 / 6  # of 2 slides on one side, and 4 on the other


def test_severity_on_paper() -> None:
    tiles = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    found = 1 / (1 + np.exp(-severities(tiles, 0.5)))
    assert found == pytest.approx([0.8, 0.3])


def test_slides_on_one_side_keep_the_middle() -> None:
    random = np.random.default_rng(0)
    tiles = [tiles_of(random, 1, 0.5) for _ in range(4)]
    rule = fit_slide_rule(tiles, np.ones(4, np.int64))
    assert rule.threshold == (0.0, 0.0)
    assert rule.quantile[0] == QUANTILES[len(QUANTILES) // 2]


def test_the_decision_is_the_median_grade() -> None:
    tiles = np.array([[0.55, 0.1, 0.35], [0.45, 0.2, 0.35], [0.2, 0.45, 0.35]])
    rule = SlideRule(quantile=(0.5, 0.5), threshold=(0.0, 0.0), temperature=(1.0, 1.0))
    grade, probability_C = decide(rule, tiles)
    assert (grade, int(probability_C.argmax())) == (1, 0)
    assert decide(None, tiles).grade == int(tiles.mean(axis=0).argmax()) == 0
    assert grade_of(np.array([0.4, 0.3, 0.3])) == 1
    assert grade_of(np.array([0.5, 0.0, 0.5])) == 2
    assert grade_of(np.array([1.0, 0.0, 0.0])) == 0


@given(
    st.lists(st.lists(st.floats(0.001, 1), min_size=3, max_size=3), min_size=1, max_size=20),
    st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.floats(0.05, 5),
)  # fmt: skip
def test_probabilities_of_grades_always_are(
    rows: list[list[float]], thresholds: list[float], temperature: float
) -> None:
    tiles = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    rule = SlideRule(
        quantile=(0.9, 0.5), threshold=tuple(thresholds), temperature=(temperature, 1.0)
    )
    found = grade_slide(rule, tiles)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()


def test_more_severe_tiles_never_lower_the_grade() -> None:
    random = np.random.default_rng(2)
    rule = fit_slide_rule(*cohort(random, 30))
    tiles = tiles_of(random, 1, 0.3)
    worse = tiles.copy()
    worse[:, 2] += worse[:, 0] * 0.5
    worse[:, 0] *= 0.5
    before, after = (np.cumsum(grade_slide(rule, t)[::-1])[::-1] for t in (tiles, worse))
    assert (after >= before - 1e-12).all()
