"""What classifiers on features are rebalanced by: the classes' shares, and statistics to match.

N tiles, C classes, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import TARGET, DomainClassifier, Statistics, weighted_statistics
from pathology.adapt.prior import class_balance, prior_of, target_prior
from pathology.adapt.step import Balance

BLOCK = 8192
SMOOTHING = 0.5  # share of the last estimate that is kept
PSEUDO_TILES = 16.0  # of the source's statistics, that the target's begin with


@dataclass(frozen=True, eq=False)
class FeatureBalance:
    """The features of both domains, and what follows from a classifier's answers on them."""

    source_NF: NDArray[np.float32]
    label_N: NDArray[np.int64]
    target_NF: NDArray[np.float32]
    num_classes: int
    config: AdaptConfig

    def __call__(self, model: DomainClassifier, ratio_C: Tensor, step: int) -> Balance:
        """The ratio of the classes' shares, moved half way to what the answers say."""
        source_C = prior_of(self.label_N, self.num_classes)
        last_C = source_C * ratio_C.double().numpy()
        prior_C = last_C
        if self.config.is_prior_estimated and step:  # before, nothing has been learned
            weight_C = class_balance(
                self.label_N, self.num_classes, self.config.term_weights().balance
            )
            answers_NC = probabilities(model, self.target_NF, TARGET)
            found_C = target_prior(answers_NC, source_C * weight_C)
            prior_C = SMOOTHING * last_C + (1 - SMOOTHING) * found_C
        ratio = np.where(source_C > 0, prior_C / np.maximum(source_C, 1e-9), 0.0)
        return Balance(torch.from_numpy(ratio).float(), self._statistics(ratio))

    def _statistics(self, ratio_C: NDArray[np.float64]) -> tuple[Statistics, Statistics] | None:
        """By which the domains are normalized: with the classes as often in both."""
        way = self.config.normalized_by()
        if way == "none":
            return None
        if way == "source":
            both = weighted_statistics(self.source_NF)
            return both, both
        source = weighted_statistics(self.source_NF, ratio_C[self.label_N])
        target = weighted_statistics(self.target_NF)
        return source, shrunk(target, len(self.target_NF), source)


def shrunk(found: Statistics, num: int, others: Statistics) -> Statistics:
    """Statistics of num tiles, of which few say little, drawn towards another domain's.

    Both are averaged as if the other's were of PSEUDO_TILES more (Schneider et al., NeurIPS 2020,
    equation 3): features that hardly vary in a few tiles are not blown up.
    """
    share = num / (num + PSEUDO_TILES)
    mean_F, var_F = (share * a + (1 - share) * b for a, b in zip(found, others, strict=True))
    return mean_F, var_F


@torch.inference_mode()
def probabilities(
    model: DomainClassifier, features_NF: NDArray[np.float32], domain: int
) -> NDArray[np.float64]:
    """A classifier's answers (N, C) on features of a domain."""
    found = [
        model(torch.from_numpy(features_NF[start : start + BLOCK]), domain)
        .logits_BC.double().softmax(dim=1).numpy()
        for start in range(0, len(features_NF), BLOCK)
    ]  # fmt: skip
    return np.concatenate(found)
