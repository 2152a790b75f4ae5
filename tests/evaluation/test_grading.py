"""Figures of grading agree with scikit-learn, and intervals are by case."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    recall_score,
    roc_auc_score,
)

from pathology.evaluation.grading import (
    count_by_case,
    curve,
    estimates,
    known_cases,
    measures,
    precision_curve,
    reliability,
)
from pathology.evaluation.slide_ranking import auroc, auroc_error, mean_auroc

GRADES = ("healthy", "adenoma", "carcinoma")


def example(num: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=num)
    logits = 1.5 * np.eye(3)[truth] + random.normal(size=(num, 3))
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), truth, random.integers(20, size=num)


def test_figures_agree_with_scikit_learn() -> None:
    p, truth, case = example()
    found = measures(count_by_case(p, truth, case), np.ones(20), GRADES)
    guess = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx((truth == guess).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, guess))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, guess, weights="quadratic"))
    for grade, name in enumerate(GRADES):
        recall = recall_score(truth == grade, guess == grade)
        assert found[f"recall_{name}"] == pytest.approx(recall)
    for step, name in ((1, "adenoma"), (2, "carcinoma")):
        beyond = p[:, step:].sum(axis=1)
        assert found[f"auroc_{name}"] == pytest.approx(
            roc_auc_score(truth >= step, beyond), abs=1e-3
        )
        assert found[f"auprc_{name}"] == pytest.approx(
            average_precision_score(truth >= step, beyond), abs=2e-3
        )
    assert found["auroc"] == pytest.approx(mean_auroc(p, truth), abs=1e-3)


def saturated(num: int, sharpness: float, rare: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three grades with six decimals, as predict writes them, and the truth."""
    random = np.random.default_rng(3)
    truth = random.choice(3, num, p=(1 - 2 * rare, rare, rare))
    logits = sharpness * (1.5 * np.eye(3)[truth] + random.normal(size=(num, 3)))
    logits[:, 0] += sharpness
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.round(p / p.sum(axis=1, keepdims=True), 6), truth


@pytest.mark.parametrize(
    ("num", "sharpness", "rare"), [(900, 9.0, 0.3), (20_000, 9.0, 0.3), (20_000, 3.0, 0.02)]
)
def test_areas_hold_where_scores_crowd_or_grades_are_rare(
    num: int, sharpness: float, rare: float
) -> None:
    p, truth = saturated(num, sharpness, rare)
    found = measures(count_by_case(p, truth, np.zeros(num, np.int64)), np.ones(1), GRADES)
    off = 1e-9 if num < 1000 else 1e-3
    for step, name in ((1, "adenoma"), (2, "carcinoma")):
        beyond = np.round(p[:, ::-1].cumsum(axis=1)[:, ::-1][:, step], 9)
        area, precision = found[f"auroc_{name}"], found[f"auprc_{name}"]
        assert area == pytest.approx(roc_auc_score(truth >= step, beyond), abs=off)
        assert precision == pytest.approx(
            average_precision_score(truth >= step, beyond), abs=5 * off
        )


def test_equal_scores_are_tied_whatever_their_sums() -> None:
    p = np.array([[0.7, 0.1, 0.2], [0.7, 0.3, 0.0]])  # 0.1 + 0.2 is not 0.3
    for truth in ([0, 1], [1, 0]):
        counts = count_by_case(p, np.array(truth), np.zeros(2, np.int64))
        assert measures(counts, np.ones(1), GRADES)["auroc_adenoma"] == 0.5


def test_cases_of_unknown_truth_are_not_drawn_from() -> None:
    p, truth, _ = example(300)
    case, limit = np.arange(300) % 50, np.full(300, 1)
    unknown = np.where(case < 5, truth, -1)
    mixed = count_by_case(p, unknown, case, limit)
    alone = count_by_case(p[case < 5], truth[case < 5], case[case < 5], limit[case < 5])
    assert known_cases(mixed).sum() == 5
    found, wanted = estimates(mixed, GRADES), estimates(alone, GRADES)
    assert found["kappa"] == wanted["kappa"] and found["auroc"] == wanted["auroc"]
    assert found["upper_rate"] != wanted["upper_rate"]  # that is of all fifty


@pytest.mark.parametrize("digits", [0, 1, 8])  # few values are level often
def test_auroc_is_that_of_scikit_learn(digits: int) -> None:
    random = np.random.default_rng(digits)
    is_above = random.random(60) < 0.3
    score = random.normal(is_above).round(digits)
    assert auroc(score, is_above) == pytest.approx(roc_auc_score(is_above, score), abs=1e-12)


def test_the_error_of_an_auroc_is_the_spread_of_draws() -> None:
    random = np.random.default_rng(0)
    grade, found = np.repeat([0, 1], [30, 20]), []
    for _ in range(400):
        score = random.normal(1.2 * grade)
        found.append(mean_auroc(np.stack([-score, score], axis=1), grade))
    assert auroc_error(float(np.mean(found)), grade) == pytest.approx(np.std(found), rel=0.15)
    few, many = np.arange(18) % 3, np.arange(1800) % 3
    assert 0.01 < auroc_error(1.0, few) < 0.03 and auroc_error(1.0, many) < 1e-3
    assert auroc_error(0.9, few) > auroc_error(1.0, few)
    assert auroc_error(0.9, np.zeros(5, np.int64)) == 0


def test_perfect_and_undefined() -> None:
    truth = np.arange(30) % 3
    sure = np.eye(3)[truth]
    found = measures(count_by_case(sure, truth, np.zeros(30, np.int64)), np.ones(1), GRADES)
    assert found["balanced_accuracy"] == found["kappa"] == found["auroc"] == 1
    assert found["ece"] == pytest.approx(0)
    one = count_by_case(sure[:1], truth[:1], np.zeros(1, np.int64))
    found = measures(one, np.ones(1), GRADES)
    assert np.isnan(found["auroc"]) and np.isnan(found["kappa"])
    assert found["balanced_accuracy"] == 1


def test_calibration_error_on_paper() -> None:
    p = np.tile([[0.8, 0.2]], (10, 1))
    truth = np.array([0] * 6 + [1] * 4)  # sure to 0.8, right in 0.6
    found = measures(count_by_case(p, truth, np.zeros(10, np.int64)), np.ones(1), ("a", "b"))
    assert found["ece"] == pytest.approx(0.2)
    confidence, accuracy, number = reliability(count_by_case(p, truth, np.zeros(10, np.int64)))
    assert (confidence.tolist(), accuracy.tolist(), number.tolist()) == (
        pytest.approx([0.8]), pytest.approx([0.6]), [10],
    )  # fmt: skip


def test_upper_rate_counts_tiles_above_their_slide() -> None:
    p = np.eye(3)[[0, 1, 2, 2]]
    unknown = np.full(4, -1)
    limit = np.array([0, 0, 1, 2])
    counts = count_by_case(p, unknown, np.zeros(4, np.int64), limit)
    assert measures(counts, np.ones(1), GRADES)["upper_rate"] == 0.5


def test_intervals_are_those_of_drawing_cases() -> None:
    """Twenty cases that are right throughout or wrong throughout: as few as twenty coin flips."""
    random = np.random.default_rng(0)
    case = np.repeat(np.arange(20), 100)
    truth = random.integers(2, size=2000)
    is_right = (np.arange(20) < 14)[case]
    guess = np.where(is_right, truth, 1 - truth)
    found = estimates(count_by_case(np.eye(2)[guess], truth, case), ("a", "b"))
    accuracy = found["balanced_accuracy"]
    assert accuracy.value == pytest.approx(0.7, abs=0.01)
    spread = np.sqrt(0.7 * 0.3 / 20)
    assert accuracy.high - accuracy.low == pytest.approx(4 * spread, rel=0.2)
    alone = estimates(count_by_case(np.eye(2)[guess], truth, np.zeros(2000, np.int64)), ("a", "b"))
    assert np.isnan(alone["balanced_accuracy"].low)  # one case says nothing of others


def test_a_curve_encloses_its_area() -> None:
    p, truth, case = example()
    counts = count_by_case(p, truth, case)
    false, true = curve(counts, 1)
    area = np.trapezoid(true, false)
    assert area == pytest.approx(measures(counts, np.ones(20), GRADES)["auroc_carcinoma"], abs=1e-6)


def test_decisions_may_differ_from_the_most_probable() -> None:
    p, truth, case = example(300)
    counts = count_by_case(p, truth, case, predicted_N=truth)
    assert measures(counts, np.ones(20), GRADES)["balanced_accuracy"] == 1


def test_draws_that_lack_a_grade_do_not_count_for_means_over_grades() -> None:
    """Ten cases of an item each; the one carcinoma is taken for healthy."""
    truth = np.array([0] * 5 + [1] * 4 + [2])
    guess = np.array([0] * 5 + [1] * 3 + [0] * 2)
    found = estimates(count_by_case(np.eye(3)[guess], truth, np.arange(10)), GRADES)
    balanced, auroc = found["balanced_accuracy"], found["auroc"]
    assert balanced.value == pytest.approx((1 + 0.75 + 0) / 3)
    assert balanced.low < balanced.value < balanced.high
    assert balanced.high == pytest.approx(2 / 3)  # no draw does without the carcinoma
    steps = [found[f"auroc_{name}"] for name in GRADES[1:]]
    assert auroc.high <= np.mean([step.high for step in steps]) + 1e-9
    assert found["recall_carcinoma"].high == 0


def test_calibration_is_of_the_grade_that_was_decided_on() -> None:
    p = np.tile([[0.46, 0.04, 0.5]], (10, 1))  # at least adenoma, by 0.54: the median is adenoma
    decided = np.ones(10, np.int64)
    counts = count_by_case(p, decided, np.zeros(10, np.int64), predicted_N=decided)
    found = measures(counts, np.ones(1), GRADES)
    assert found["accuracy"] == 1
    assert found["ece"] == pytest.approx(1 - 0.04)
    confidence, accuracy, _ = reliability(counts)
    assert (confidence.tolist(), accuracy.tolist()) == (pytest.approx([0.04]), [1])


def test_the_area_under_precision_is_the_average_precision() -> None:
    p, truth, case = example()
    counts = count_by_case(p, truth, case)
    found = measures(counts, np.ones(20), GRADES)
    for step, name in enumerate(GRADES[1:]):
        recall, precision = precision_curve(counts, step)
        assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(found[f"auprc_{name}"])
        assert recall[0] == 0 and recall[-1] == 1
        assert precision[-1] == pytest.approx((truth > step).mean())
    recall, precision = precision_curve(count_by_case(p, 0 * truth, case), 0)
    assert len(recall) == len(precision) == 0
