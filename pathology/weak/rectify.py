"""How much each tile of a slide counts for its slide's grade: the weights of rectification.

Chen et al., MICCAI 2019, from its public re-implementations: of the tiles of one slide the least
convincing share is left out (hard pooling), the most convincing share counts fully, and between
the two weights rise in a line (soft pooling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ramp = Literal["score", "rank", "hard"]


def rectified_weights(
    scores_N: NDArray[np.floating],
    slide_N: NDArray[np.integer],
    grade_N: NDArray[np.integer],
    low: Sequence[float],
    up: Sequence[float],
    ramp: Ramp = "score",
) -> NDArray[np.float32]:
    """Weights (N,) from 0 to 1 of tiles, by their place among the tiles of their slide.

    scores_N  of each tile for its slide's grade, from 0 to 1
    slide_N   which slide a tile belongs to
    grade_N   that slide's grade; tiles of the lowest grade, 0, weigh 1: nothing milder is on them
    low, up   by grade: the share of tiles left out, and the share that counts fully
    ramp      score: the weight rises with the score between the two percentiles; rank: with the
              rank, equal scores sharing theirs; hard: it does not, all above low count fully

    Where low and up leave no room between them, or all scores are equal, every tile of the slide
    weighs 1. Raises ValueError for scores that are no numbers.
    """
    if not np.isfinite(scores_N).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores_N))} scores are no numbers")
    weights = np.ones(len(scores_N), np.float32)
    for rows in _by_slide(slide_N):
        grade = int(grade_N[rows[0]]) if len(rows) else 0
        if grade > 0:
            weights[rows] = _ramp(scores_N[rows], low[grade], up[grade], ramp)
    return weights


def discriminative_weights(
    scores_N: NDArray[np.floating],
    slide_N: NDArray[np.integer],
    grade_N: NDArray[np.integer],
    low: Sequence[float],
) -> NDArray[np.float32]:
    """1 for the tiles that are discriminative and 0 for the others: Hou et al., CVPR 2016.

    A tile is, if its score reaches the lower of two percentiles: that of its slide and that of all
    slides of its grade. low says which, by grade; the lowest grade keeps all its tiles.
    """
    weights = np.ones(len(scores_N), np.float32)
    there = np.unique(grade_N[grade_N > 0]).tolist()
    among_all = {grade: np.quantile(scores_N[grade_N == grade], low[grade]) for grade in there}
    for rows in _by_slide(slide_N):
        grade = int(grade_N[rows[0]]) if len(rows) else 0
        if grade > 0:
            threshold = min(np.quantile(scores_N[rows], low[grade]), among_all[grade])
            weights[rows] = scores_N[rows] >= threshold
    return weights


def _by_slide(slide_N: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """The tiles of each slide, by number."""
    order = np.argsort(slide_N, kind="stable")
    _, starts = np.unique(np.asarray(slide_N)[order], return_index=True)
    return np.split(order, starts[1:])


def _ramp(
    scores_N: NDArray[np.floating], low: float, up: float, ramp: Ramp
) -> NDArray[np.floating]:
    """The weights of the tiles of one slide."""
    values = _ranks(scores_N) if ramp == "rank" else np.asarray(scores_N, np.float64)
    bottom, top = (low, 1 - up) if ramp == "rank" else np.quantile(values, [low, max(low, 1 - up)])
    if ramp == "hard":
        return np.asarray(values >= bottom, np.float32)
    if bottom >= top or values.min() == values.max():
        return np.ones(len(values), np.float32)
    return np.clip((values - bottom) / (top - bottom), 0, 1)


def _ranks(scores_N: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 0 (lowest) to 1 (highest); equal scores share the mean of theirs."""
    _, place, count = np.unique(scores_N, return_inverse=True, return_counts=True)
    shared = np.cumsum(count) - (count + 1) / 2
    return np.asarray((shared / max(shared[-1], 1))[place], np.float64)
