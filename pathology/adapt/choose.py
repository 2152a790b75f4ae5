"""Scores of an adapted classifier that need no target labels. N target examples, M of the source
that were set aside, C classes, F features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST = 1e-12
TEMPERATURES = np.geomspace(0.2, 20, 93)


def mean_entropy(probability_NC: Floats) -> float:
    """Mean Shannon entropy in nats; low is sure, and a classifier may be sure and wrong."""
    p_NC = np.maximum(np.asarray(probability_NC, np.float64), LEAST)
    return float(-(p_NC * np.log(p_NC)).sum(axis=1).mean())


def soft_neighborhood_density(probability_NC: Floats, temperature: float = 0.05) -> float:
    """How densely each example's answer is surrounded by like ones; high is good.

    returns  from 0 to log(N - 1): the mean entropy of similarities, made a distribution

    SND (Saito et al., ICCV 2021, equations 1 and 2). A classifier that gives one answer to
    everything has the highest score of all: use it with a look at the classes' shares.
    """
    unit_NC = np.asarray(probability_NC, np.float64)
    unit_NC = unit_NC / np.maximum(np.linalg.norm(unit_NC, axis=1, keepdims=True), LEAST)
    if len(unit_NC) < 3:
        return 0.0
    total = 0.0
    for start in range(0, len(unit_NC), 1024):
        like = unit_NC[start : start + 1024] @ unit_NC.T / temperature
        like[np.arange(len(like)), start + np.arange(len(like))] = -np.inf
        like -= like.max(axis=1, keepdims=True)
        share = np.exp(like)
        share /= share.sum(axis=1, keepdims=True)
        total -= float((share * np.log(np.maximum(share, LEAST))).sum())
    return total / len(unit_NC)


def deep_embedded_validation(loss_M: Floats, weight_M: Floats) -> float:
    """Estimated loss on the target, from source examples and their likeness to the target.

    loss_M    of source examples that were set aside
    weight_M  density of the target over that of the source at each; see density_ratio

    DEV (You et al., ICML 2019, equation 9): importance weighting with a control variate.
    """
    loss_M, weight_M = np.asarray(loss_M, np.float64), np.asarray(weight_M, np.float64)
    weighted_M = weight_M * loss_M
    spread = float(weight_M.var())
    if spread < LEAST:
        return float(weighted_M.mean())
    shared = float(((weighted_M - weighted_M.mean()) * (weight_M - weight_M.mean())).mean())
    eta = -shared / spread
    return float(weighted_M.mean() + eta * weight_M.mean() - eta)


def density_ratio(source_SF: Floats, target_NF: Floats, asked_MF: Floats) -> Floats:
    """Density of the target over that of the source, (M,), by a classifier of the two domains."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    every = np.concatenate([source_SF, target_NF])
    is_target = np.r_[np.zeros(len(source_SF)), np.ones(len(target_NF))]
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    chance = judge.fit(every, is_target).predict_proba(asked_MF)[:, 1]
    ratio = len(source_SF) / len(target_NF) * chance / np.maximum(1 - chance, LEAST)
    return np.asarray(ratio, np.float64)


def fit_temperature(logits_KMC: Floats, label_M: NDArray[np.int64]) -> float:
    """The temperature by which a classifier's logits say best how often it is right.

    logits_KMC  of K heads that answer by their mean probabilities, on source examples set aside

    Temperature scaling (Guo et al., ICML 2017): the least cross-entropy. Of n examples that are all
    told rightly the next one is with (n + 1) / (n + 2), so that nobody becomes sure of everything.
    It holds where examples are like those; on another domain a classifier is mistaken more often
    than it then says (Ovadia et al., NeurIPS 2019).
    """
    rows, right = np.arange(len(label_M)), (len(label_M) + 1) / (len(label_M) + 2)
    losses = []
    for temperature in TEMPERATURES:
        scaled_KMC = np.asarray(logits_KMC, np.float64) / temperature
        log_KMC = scaled_KMC - np.logaddexp.reduce(scaled_KMC, axis=2, keepdims=True)
        log_MC = np.logaddexp.reduce(log_KMC, axis=0) - np.log(len(log_KMC))
        own_M = log_MC[rows, label_M].copy()
        log_MC[rows, label_M] = -np.inf
        others_M = np.logaddexp.reduce(log_MC, axis=1)
        losses.append(-(right * own_M + (1 - right) * others_M).mean())
    return float(TEMPERATURES[int(np.argmin(losses))])
