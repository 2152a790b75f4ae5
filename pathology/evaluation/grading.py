"""How well ordered grades are predicted, with intervals by case.

N items (tiles or slides), C grades benign first, K cases. Everything that is reported is a function
of counts that add up over cases, so that a bootstrap draws cases and adds their counts: a thousand
draws of a hundred thousand tiles cost a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 1000  # of the scores' order, for the areas under curves: exact for no more scores
TIED_DIGITS = 9  # of scores: sums of the same probabilities may differ in the last
NUM_CALIBRATION_BINS = 15
NUM_DRAWS = 1000
MEANS = {"balanced_accuracy": "recall_", "auroc": "auroc_"}  # figures that are means of others
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CaseCounts:
    """Counts of each of K cases.

    confusion_KCC    items by true and by predicted grade
    beyond_KS2B      for each step between grades, items below it and beyond it, by the place of
                     P(grade >= k) among those of all items
    calibration_K3B  by the bin of confidence, the probability of the grade that was decided on:
                     items, those that are right, and summed confidence
    upper_K2         items predicted above their slide's grade, and all that have one
    """

    confusion_KCC: Floats
    beyond_KS2B: Floats
    calibration_K3B: Floats
    upper_K2: Floats


@dataclass(frozen=True)
class Estimate:
    """A figure and the 95 % interval of a bootstrap by case; nan where it is not defined."""

    value: float
    low: float
    high: float


def count_by_case(
    probability_NC: Floats,
    truth_N: NDArray[np.int64],
    case_N: NDArray[np.int64],
    limit_N: NDArray[np.int64] | None = None,
    predicted_N: NDArray[np.int64] | None = None,
) -> CaseCounts:
    """Counts of all cases.

    truth_N      grade of each item, -1 where it is not known
    case_N       which case an item belongs to, numbered from 0
    limit_N      grade of each item's slide, which its own cannot exceed; -1 where it is not known
    predicted_N  grades that were decided on; None: the most probable
    """
    num_cases, num_grades = int(case_N.max()) + 1 if len(case_N) else 0, probability_NC.shape[1]
    predicted_N = probability_NC.argmax(axis=1) if predicted_N is None else predicted_N
    known = truth_N >= 0
    case, truth, predicted = case_N[known], truth_N[known], predicted_N[known]
    confusion = np.zeros((num_cases, num_grades, num_grades))
    np.add.at(confusion, (case, truth, predicted), 1)
    beyond_NS = np.cumsum(probability_NC[:, ::-1], axis=1)[:, ::-1][:, 1:]
    beyond_NS = np.round(beyond_NS, TIED_DIGITS)
    beyond = np.zeros((num_cases, num_grades - 1, 2, NUM_BINS))
    for step in range(num_grades - 1):
        is_beyond = truth > step
        place = _places(beyond_NS[known, step], is_beyond)
        np.add.at(beyond[:, step], (case, is_beyond.astype(np.int64), place), 1)
    calibration = np.zeros((num_cases, 3, NUM_CALIBRATION_BINS))
    confidence = probability_NC[known][np.arange(len(predicted)), predicted]
    place = _bins(confidence, NUM_CALIBRATION_BINS)
    is_right = predicted == truth
    for row, amount in enumerate((np.ones(len(case)), is_right, confidence)):
        np.add.at(calibration[:, row], (case, place), amount)
    upper = np.zeros((num_cases, 2))
    if limit_N is not None:
        has_limit = limit_N >= 0
        np.add.at(upper[:, 0], case_N[has_limit], (predicted_N > limit_N)[has_limit])
        np.add.at(upper[:, 1], case_N[has_limit], 1)
    return CaseCounts(confusion, beyond, calibration, upper)


def measures(counts: CaseCounts, weight_K: Floats, grades: tuple[str, ...]) -> dict[str, float]:
    """All figures of cases that count so many times each.

    accuracy           share of the items whose grade is right
    balanced_accuracy  mean recall of the grades that occur
    kappa              Cohen's, quadratic weights
    auroc              mean over the steps between grades; auroc_<grade> of at least that grade
    auprc_<grade>      average precision of at least that grade
    recall_<grade>     share of that grade's items that are predicted to be it
    ece                expected calibration error (Guo et al., ICML 2017, eq. 3) of the grade that
                       was decided on, which need not be the most probable
    upper_rate         share predicted above their slide's grade
    """
    confusion_CC = np.tensordot(weight_K, counts.confusion_KCC, 1)
    total_C = confusion_CC.sum(axis=1)
    found = {
        "accuracy": _share(np.trace(confusion_CC), total_C.sum()),
        "balanced_accuracy": float("nan"),
        "kappa": _kappa(confusion_CC),
    }
    recalls = {}
    for grade, name in enumerate(grades):
        recalls[f"recall_{name}"] = _share(confusion_CC[grade, grade], total_C[grade])
    there = [value for value in recalls.values() if not np.isnan(value)]
    found["balanced_accuracy"] = float(np.mean(there)) if there else float("nan")
    beyond_S2B = np.tensordot(weight_K, counts.beyond_KS2B, 1)
    areas = {name: _auroc(*beyond_S2B[s]) for s, name in enumerate(grades[1:])}
    known = [area for area in areas.values() if not np.isnan(area)]
    found["auroc"] = float(np.mean(known)) if known else float("nan")
    found |= {f"auroc_{name}": area for name, area in areas.items()}
    found |= {f"auprc_{name}": _auprc(*beyond_S2B[s]) for s, name in enumerate(grades[1:])}
    found |= recalls
    found["ece"] = _ece(np.tensordot(weight_K, counts.calibration_K3B, 1))
    upper_2 = weight_K @ counts.upper_K2
    found["upper_rate"] = _share(upper_2[0], upper_2[1])
    return found


def estimates(
    counts: CaseCounts, grades: tuple[str, ...], seed: int = 0, num_draws: int = NUM_DRAWS
) -> dict[str, Estimate]:
    """Every figure with the interval of a bootstrap that draws whole cases.

    Cases without an item of known grade say nothing but upper_rate: others are not drawn from them.
    For the means over grades (balanced_accuracy, auroc) draws that lack a grade which the whole has
    do not count: they would be means of other things. A grade of a single case is then in every
    draw alike, and intervals know nothing of how uncertain its share is.
    """
    known_K = known_cases(counts)
    if known_K.any() and not known_K.all():
        upper_rate = _upper_rate(counts.upper_K2, seed, num_draws)
        return estimates(some(counts, known_K), grades, seed, num_draws) | {
            "upper_rate": upper_rate
        }
    points = measures(counts, np.ones(len(known_K)), grades)
    drawn: dict[str, list[float]] = {name: [] for name in points}
    for weight_K in _draws(len(known_K), seed, num_draws):
        for name, value in _of_all_grades(measures(counts, weight_K, grades), points).items():
            drawn[name].append(value)
    return {name: _estimate(value, drawn[name]) for name, value in points.items()}


def _of_all_grades(found: dict[str, float], whole: Mapping[str, float]) -> dict[str, float]:
    """A draw's figures; nan for a mean over grades where it lacks one that the whole has."""
    lacking = [
        name for name, value in found.items() if np.isnan(value) and not np.isnan(whole[name])
    ]
    lost = [mean for mean, part in MEANS.items() if any(n.startswith(part) for n in lacking)]
    return found | dict.fromkeys(lost, float("nan"))


def known_cases(counts: CaseCounts) -> NDArray[np.bool_]:
    """Which cases (K,) have an item of known grade."""
    return np.asarray(counts.confusion_KCC.any(axis=(1, 2)))


def some(counts: CaseCounts, chosen_K: NDArray[np.bool_]) -> CaseCounts:
    """The counts of some cases."""
    return CaseCounts(*(getattr(counts, part.name)[chosen_K] for part in fields(CaseCounts)))


def _upper_rate(upper_K2: Floats, seed: int, num_draws: int) -> Estimate:
    drawn = [_share(*(weight_K @ upper_K2)) for weight_K in _draws(len(upper_K2), seed, num_draws)]
    return _estimate(_share(*upper_K2.sum(axis=0)), drawn)


def _draws(num_cases: int, seed: int, num_draws: int) -> Iterator[Floats]:
    """How often each case (K,) is drawn; nothing where there is but one."""
    random = np.random.default_rng(seed)
    for _ in range(num_draws if num_cases > 1 else 0):
        chosen = random.integers(num_cases, size=num_cases)
        yield np.bincount(chosen, minlength=num_cases).astype(np.float64)


def curve(counts: CaseCounts, step: int) -> tuple[Floats, Floats]:
    """False and true positive rates of "beyond this step", from (0, 0) to (1, 1)."""
    below_B, beyond_B = counts.beyond_KS2B[:, step].sum(axis=0)
    return tuple(  # type: ignore[return-value]
        np.concatenate([[0.0], np.cumsum(side[::-1]) / max(1.0, side.sum())])
        for side in (below_B, beyond_B)
    )


def precision_curve(counts: CaseCounts, step: int) -> tuple[Floats, Floats]:
    """Recall and precision of "beyond this step", from the highest scores on.

    Each precision holds between its recall and the one before: the area under such steps is the
    average precision. Empty where no item is beyond the step.
    """
    below_B, beyond_B = counts.beyond_KS2B[:, step].sum(axis=0)[:, ::-1]
    true_B, called_B = np.cumsum(beyond_B), np.cumsum(below_B + beyond_B)
    has = (below_B + beyond_B > 0) & (true_B[-1] > 0)
    recall, precision = true_B[has] / max(1.0, true_B[-1]), true_B[has] / called_B[has]
    return np.concatenate([0 * recall[:1], recall]), np.concatenate([precision[:1], precision])


def reliability(counts: CaseCounts) -> tuple[Floats, Floats, Floats]:
    """Mean confidence, accuracy and number of items of each bin that has any."""
    number_B, right_B, confidence_B = counts.calibration_K3B.sum(axis=0)
    has = number_B > 0
    return confidence_B[has] / number_B[has], right_B[has] / number_B[has], number_B[has]


def table_rows(
    level: str, centre: str, num: Mapping[str, int], found: Mapping[str, Estimate]
) -> list[dict[str, object]]:
    """One row for each figure, for metrics.csv."""
    return [
        {"level": level, "centre": centre, "metric": name, "value": round(e.value, 6),
         "low": round(e.low, 6), "high": round(e.high, 6), **num}
        for name, e in found.items()
    ]  # fmt: skip


def _places(score_N: Floats, is_beyond_N: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Places of scores in their order, below NUM_BINS; equal scores share one.

    Where there are more scores than places, those between two quantiles of either side share one:
    a side of few items, or scores that crowd at 0 and 1, are told apart as well as others.
    """
    edges = np.unique(score_N)
    if len(edges) > NUM_BINS:
        share = np.linspace(0, 1, NUM_BINS // 2)
        sides = [side for side in (score_N[is_beyond_N], score_N[~is_beyond_N]) if len(side)]
        edges = np.unique([np.quantile(side, share, method="lower") for side in sides])
    return np.maximum(np.searchsorted(edges, score_N, side="right") - 1, 0)


def _bins(values: Floats, num: int) -> NDArray[np.int64]:
    return np.clip((values * num).astype(np.int64), 0, num - 1)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _kappa(confusion_CC: Floats) -> float:
    """Quadratic weighted kappa: Cohen, Psychological Bulletin 1968."""
    number, grades = confusion_CC.sum(), np.arange(len(confusion_CC))
    if not number:
        return float("nan")
    apart_CC = (grades[:, None] - grades[None]) ** 2
    expected_CC = np.outer(confusion_CC.sum(axis=1), confusion_CC.sum(axis=0)) / number
    chance = float((apart_CC * expected_CC).sum())
    return 1 - float((apart_CC * confusion_CC).sum()) / chance if chance else float("nan")


def _auroc(below_B: Floats, beyond_B: Floats) -> float:
    """Share of pairs in the right order, ties counting half: Mann and Whitney."""
    pairs = below_B.sum() * beyond_B.sum()
    if not pairs:
        return float("nan")
    lower_B = np.cumsum(below_B) - below_B
    return float((beyond_B * (lower_B + 0.5 * below_B)).sum() / pairs)


def _auprc(below_B: Floats, beyond_B: Floats) -> float:
    """Average precision: sum over thresholds of precision times the gain in recall."""
    if not beyond_B.sum() or not below_B.sum():
        return float("nan")
    true_B, false_B = np.cumsum(beyond_B[::-1]), np.cumsum(below_B[::-1])
    precision_B = true_B / np.maximum(1e-12, true_B + false_B)
    return float((precision_B * beyond_B[::-1]).sum() / beyond_B.sum())


def _ece(calibration_3B: Floats) -> float:
    number_B, right_B, confidence_B = calibration_3B
    if not number_B.sum():
        return float("nan")
    return float(np.abs(right_B - confidence_B).sum() / number_B.sum())


def _estimate(value: float, drawn: list[float]) -> Estimate:
    kept = [one for one in drawn if not np.isnan(one)]
    if np.isnan(value) or not kept:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(kept, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
