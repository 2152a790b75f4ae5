"""How well slides are put in order: what a training is chosen by, without any threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_auroc(probability_SC: NDArray[np.float64], grade_S: NDArray[np.int64]) -> float:
    """Mean over the steps between grades of the AUROC of P(grade >= k) for slides of at least k.

    returns  from 0 to 1, 0.5 for a guess; nan where all slides have one grade
    """
    beyond_SC = np.cumsum(probability_SC[:, ::-1], axis=1)[:, ::-1]
    found = [
        auroc(beyond_SC[:, k], grade_S >= k)
        for k in range(1, probability_SC.shape[1])
        if 0 < np.count_nonzero(grade_S >= k) < len(grade_S)
    ]
    return float(np.mean(found)) if found else float("nan")


def auroc(score_N: NDArray[np.float64], is_above_N: NDArray[np.bool_]) -> float:
    """Share of pairs that are in order, half of those that are level: Mann and Whitney's U.

    As scikit-learn's roc_auc_score, without its 5 ms of checks. Both sides must be there.
    """
    _, place_N, count = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(count) - (count - 1) / 2)[place_N]  # those that are level share theirs
    num = int(np.count_nonzero(is_above_N))
    above = rank_N[is_above_N].sum() - num * (num + 1) / 2
    return float(above / (num * (len(score_N) - num)))


def auroc_error(auroc: float, grade_S: NDArray[np.int64]) -> float:
    """Standard error of mean_auroc on slides of these grades (Hanley and McNeil, Radiology 1982).

    Of the steps it is the mean, as if they were one question. An order without a fault is taken
    for half a pair of slides wrong: few slides prove little. 0 where no step has slides on both
    sides.
    """
    found = []
    for k in range(1, int(grade_S.max(initial=0)) + 1):
        above, below = np.count_nonzero(grade_S >= k), np.count_nonzero(grade_S < k)
        if above and below:
            pairs = above * below
            value = (auroc * pairs + 0.5) / (pairs + 1)
            of_above, of_below = value / (2 - value), 2 * value**2 / (1 + value)
            variance = value * (1 - value) + (above - 1) * (of_above - value**2)
            variance += (below - 1) * (of_below - value**2)
            found.append(np.sqrt(max(0.0, variance) / pairs))
    return float(np.mean(found)) if found else 0.0
