"""How often each class occurs in an unlabelled target, and how much source examples count then.

N examples, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST = 1e-9


def target_prior(
    probability_NC: Floats, source_prior_C: Floats, *, rounds: int = 200, tolerance: float = 1e-6
) -> Floats:
    """Share of each class in a target, from a classifier's answers on it.

    probability_NC  of the classifier, calibrated where classes occur as in source_prior_C
    returns         (C,), sums to 1

    Expectation and maximization by turns (Saerens et al., Neural Computation 2002, equation 2.9):
    answers are moved by the ratio of the priors, and their mean is the next prior.
    """
    source_C = np.maximum(np.asarray(source_prior_C, np.float64), LEAST)
    prior_C = source_C / source_C.sum()
    for _ in range(rounds):
        last_C, prior_C = prior_C, moved(probability_NC, source_C, prior_C).mean(axis=0)
        if np.abs(prior_C - last_C).max() < tolerance:
            break
    return np.asarray(prior_C, np.float64)


def share_explained(
    probability_NC: Floats,
    label_N: NDArray[np.int64],
    weight_C: Floats,
    weight_N: Floats | None = None,
) -> float:
    """How much of the labels' entropy a classifier's answers remove: 0 for a guess, 1 for all.

    weight_C  how much an example of each class counts; weight_N: each of them beside that

    McFadden's R squared, not below 0.
    """
    weight_N = np.asarray(weight_C)[label_N] * (1.0 if weight_N is None else weight_N)
    share_C = np.bincount(label_N, weight_N, minlength=probability_NC.shape[1]) / weight_N.sum()
    p_N = np.asarray(probability_NC, np.float64)[np.arange(len(label_N)), label_N]
    loss = -float(weight_N @ np.log(np.maximum(p_N, LEAST)) / weight_N.sum())
    guess = -float((share_C * np.log(np.maximum(share_C, LEAST))).sum())
    return max(0.0, 1 - loss / max(guess, LEAST))


def moved(probability_NC: Floats, source_prior_C: Floats, target_prior_C: Floats) -> Floats:
    """A classifier's answers (N, C) where classes occur otherwise than it was taught."""
    ratio_C = np.asarray(target_prior_C) / np.maximum(source_prior_C, LEAST)
    weighed_NC = np.asarray(probability_NC, np.float64) * ratio_C
    total_N1 = np.maximum(weighed_NC.sum(axis=1, keepdims=True), LEAST)
    return np.asarray(weighed_NC / total_N1, np.float64)


def mean_one(weight_N: Floats) -> Floats:
    """Weights that stand to each other as these do, and whose mean is 1."""
    weight_N = np.asarray(weight_N, np.float64) / np.max(weight_N)
    return np.asarray(weight_N / weight_N.mean(), np.float64)


def prior_of(
    label_N: NDArray[np.int64], num_classes: int, weight_N: Floats | None = None
) -> Floats:
    """Share (C,) of each class among labels, each counting by its weight or all alike."""
    count_C = np.bincount(label_N, weight_N, minlength=num_classes).astype(np.float64)
    return np.asarray(count_C / max(LEAST, float(count_C.sum())), np.float64)


def class_balance(
    label_N: NDArray[np.int64],
    num_classes: int,
    power: float = 1.0,
    weight_N: Floats | None = None,
) -> Floats:
    """Factors (C,) on the loss of each class by which rare ones count as much as others.

    power    0: all examples count by their weights alone; 1: all classes count alike
    weight_N of the examples; None: they count alike
    returns  of mean 1 over the examples; 0 for classes that do not occur
    """
    share_C = prior_of(label_N, num_classes, weight_N)
    factor_C = np.where(share_C > 0, np.maximum(share_C, LEAST) ** -power, 0.0)
    return np.asarray(factor_C / max(LEAST, float((factor_C * share_C).sum())), np.float64)
