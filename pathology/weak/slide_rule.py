"""From the grades of tiles to the grade of their slide: a rule that is learned and monotone.

A slide is at least of grade k if enough of its tissue is. "Enough" is not known beforehand: one
tile in a hundred may be a tumor or an error of the classifier. For each grade k a quantile of the
tiles' probabilities P(grade >= k) stands for the slide, its severity, and slides that are set
aside say which quantile, which threshold, and how sure to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pathology.core.config import StageConfig

QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
TEMPERATURES = tuple(np.geomspace(0.05, 20, 53).tolist())
CLIP = 1e-6


class SlideRule(StageConfig):
    """What was learned for each step between two grades.

    quantile     of P(grade >= k) over the slide's tiles that is its severity
    threshold    severity from which on a slide is at least of grade k, as a logit
    temperature  of the slide's probability: sigmoid((logit(severity) - threshold) / temperature)
    """

    quantile: tuple[float, ...]
    threshold: tuple[float, ...]
    temperature: tuple[float, ...] = Field(min_length=1)


class Decision(NamedTuple):
    """A grade, from 0 (benign), and the probabilities (C,) of all."""

    grade: int
    probability_C: NDArray[np.float64]


def severities(tile_NC: NDArray[np.float64], quantile: float) -> NDArray[np.float64]:
    """Severity (C-1,) of a slide: that quantile of its tiles' P(grade >= k), as logits."""
    beyond_NK = np.cumsum(tile_NC[:, ::-1], axis=1)[:, ::-1][:, 1:]
    value_K = np.quantile(beyond_NK, quantile, axis=0)
    value_K = np.clip(value_K, CLIP, 1 - CLIP)
    return np.asarray(np.log(value_K / (1 - value_K)), np.float64)


def fit_slide_rule(
    tiles_S: Sequence[NDArray[np.float64]],
    grade_S: NDArray[np.int64],
    quantiles: Sequence[float] = QUANTILES,
) -> SlideRule:
    """The rule that grades these slides best.

    tiles_S  probabilities (N, C) of the tiles of each slide, C at least 2
    grade_S  the slides' grades
    For every step the quantile and threshold of the best balanced accuracy; among equals, the pair
    with the widest gap between the slides on both sides. A step that all slides are on one side of
    keeps the middle quantile and a threshold of one half.
    """
    severity_QSK = np.array([[severities(tiles, q) for tiles in tiles_S] for q in quantiles])
    found: list[tuple[float, float, float]] = []
    for step in range(severity_QSK.shape[2]):
        is_beyond_S = grade_S > step
        if is_beyond_S.all() or not is_beyond_S.any():
            found.append((quantiles[len(quantiles) // 2], 0.0, 1.0))
            continue
        options = [_threshold(severity_QSK[i, :, step], is_beyond_S) for i in range(len(quantiles))]
        best = max(range(len(quantiles)), key=lambda i: options[i][:2])
        threshold = options[best][2]
        temperature = _temperature(severity_QSK[best, :, step] - threshold, is_beyond_S)
        found.append((quantiles[best], threshold, temperature))
    quantile, threshold_K, temperature_K = zip(*found, strict=True)
    return SlideRule(quantile=quantile, threshold=threshold_K, temperature=temperature_K)


def grade_slide(rule: SlideRule, tile_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (C,) of a slide's grades.

    P(grade >= k) never rises with k: it is cut to what the step before allows.
    """
    beyond = [1.0]
    for step, (quantile, threshold, temperature) in enumerate(
        zip(rule.quantile, rule.threshold, rule.temperature, strict=True)
    ):
        severity = float(severities(tile_NC, quantile)[step])
        beyond.append(min(beyond[-1], _sigmoid((severity - threshold) / temperature)))
    return np.array([high - low for high, low in pairwise([*beyond, 0.0])])


def decide(rule: SlideRule | None, tile_NC: NDArray[np.float64]) -> Decision:
    """The grade of a slide, or of a microscope's field, from those of its tiles (N, C).

    Without a rule probabilities are the tiles' mean, and the grade is the most probable.
    """
    if rule is None:
        mean_C = np.asarray(tile_NC.mean(axis=0), np.float64)
        return Decision(int(mean_C.argmax()), mean_C)
    probability_C = grade_slide(rule, tile_NC)
    return Decision(grade_of(probability_C), probability_C)


def grade_of(probability_C: NDArray[np.float64]) -> int:
    """The highest grade that a slide reaches with one half or more: the decision of the rule."""
    beyond_C = np.cumsum(probability_C[::-1])[::-1]
    return int(np.flatnonzero(beyond_C >= 0.5)[-1])


def _threshold(
    severity_S: NDArray[np.float64], is_beyond_S: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Best balanced accuracy, the gap around its threshold, and the threshold itself."""
    order = np.sort(np.unique(severity_S))
    if len(order) == 1:
        return 0.5, 0.0, float(order[0])
    best = (-1.0, -1.0, 0.0)
    for low, high in pairwise(order.tolist()):
        middle = (low + high) / 2
        is_called_S = severity_S > middle
        accuracy = (is_called_S[is_beyond_S].mean() + (~is_called_S[~is_beyond_S]).mean()) / 2
        best = max(best, (round(float(accuracy), 9), high - low, middle))
    return best


def _temperature(margin_S: NDArray[np.float64], is_beyond_S: NDArray[np.bool_]) -> float:
    """The temperature of the least cross-entropy, both sides counting alike.

    Of n slides of a side that are all told rightly, the next one is with (n + 1) / (n + 2): that is
    what their probability is fitted to, and not 1 (Platt, Advances in Large Margin Classifiers,
    1999). A few slides that are easy to tell apart leave nobody sure of everything.
    """
    sign_S = np.where(is_beyond_S, 1.0, -1.0)
    num_S = np.where(is_beyond_S, is_beyond_S.sum(), (~is_beyond_S).sum())
    right_S = (num_S + 1) / (num_S + 2)
    losses = []
    for temperature in TEMPERATURES:
        own_S = sign_S * margin_S / temperature
        loss_S = right_S * np.logaddexp(0, -own_S) + (1 - right_S) * np.logaddexp(0, own_S)
        losses.append(float((loss_S / num_S).sum()))
    return float(TEMPERATURES[int(np.argmin(losses))])


def _sigmoid(value: float) -> float:
    return float(np.exp(-np.logaddexp(0, -value)))
