"""What classifiers on features are rebalanced by: the classes' shares, and statistics to match.

N tiles, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.adapt.config import AdaptConfig
from pathology.adapt.domain_norm import target_statistics
from pathology.adapt.network import (
    SOURCE,
    TARGET,
    DomainClassifier,
    Statistics,
    weighted_statistics,
)
from pathology.adapt.prior import class_balance, prior_of, share_explained, target_prior
from pathology.adapt.step import Balance

BLOCK = 8192
FIRST = 0.1  # share of the steps after which shares of classes are estimated
SMOOTHING = 0.5  # share of the last estimate that is kept
PSEUDO_TILES = 16.0  # of the source's statistics, that the target's begin with


@dataclass(frozen=True, eq=False)
class FeatureBalance:
    """The features of both domains, and what follows from a classifier's answers on them.

    label_N  classes of the source's examples
    every_M  classes of all that is trained on, where these are but some of it
    weight_N, every_weight_M  how much each of these counts; None: all alike
    """

    source_NF: NDArray[np.float32]
    label_N: NDArray[np.int64]
    target_NF: NDArray[np.float32]
    num_classes: int
    config: AdaptConfig
    every_M: NDArray[np.int64] | None = None
    weight_N: NDArray[np.float64] | None = None
    every_weight_M: NDArray[np.float64] | None = None

    def __call__(self, model: DomainClassifier, ratio_C: Tensor, step: int) -> Balance:
        """The ratio of the classes' shares, moved half way to what the answers say.

        At first all the way. Less far where the classifier knows little of the source yet: of a
        guess, expectation and maximization make a single class. Until shares are estimated both
        domains are normalized by the source: a target whose classes occur otherwise would else be
        moved until they seem to occur as there.
        """
        every_M, weight_M = (
            (self.label_N, self.weight_N)
            if self.every_M is None
            else (self.every_M, self.every_weight_M)
        )
        source_C = prior_of(every_M, self.num_classes, weight_M)
        last_C = source_C * ratio_C.double().numpy()
        prior_C = last_C
        if self.config.is_prior_estimated and not self._waits(step):
            power = self.config.term_weights().balance
            weight_C = class_balance(every_M, self.num_classes, power, weight_M)
            answers_NC = probabilities(model, self.target_NF, TARGET)
            found_C = target_prior(answers_NC, source_C * weight_C)
            source_NC = probabilities(model, self.source_NF, SOURCE)
            kept = 0.0 if bool((ratio_C == 1).all()) else SMOOTHING
            known = share_explained(source_NC, self.label_N, weight_C, self.weight_N)
            move = (1 - kept) * known
            prior_C = (1 - move) * last_C + move * found_C
        ratio = np.where(source_C > 0, prior_C / np.maximum(source_C, 1e-9), 0.0)
        return Balance(torch.from_numpy(ratio).float(), self._statistics(ratio, step))

    def _statistics(
        self, ratio_C: NDArray[np.float64], step: int
    ) -> tuple[Statistics, Statistics] | None:
        """By which the domains are normalized: with the classes as often in both."""
        way = self.config.normalized_by()
        if way == "separate" and self._waits(step):
            way = "source"
        if way == "none":
            return None
        if way == "source":
            both = weighted_statistics(self.source_NF)
            return both, both
        weight_N = 1.0 if self.weight_N is None else self.weight_N
        source = weighted_statistics(self.source_NF, ratio_C[self.label_N] * weight_N)
        target = weighted_statistics(self.target_NF)
        return source, shrunk(target, len(self.target_NF), source)

    def _waits(self, step: int) -> bool:
        """Whether it is too early to say how often classes occur."""
        return self.config.is_prior_estimated and step < FIRST * self.config.steps


def shrunk(found: Statistics, num: int, others: Statistics) -> Statistics:
    """Statistics of num tiles, of which few say little, drawn towards another domain's.

    Both are averaged as if the other's were of PSEUDO_TILES more (Schneider et al., NeurIPS 2020,
    equation 3): features that hardly vary in a few tiles are not blown up.
    """
    share = num / (num + PSEUDO_TILES)
    mean_F, var_F = (share * a + (1 - share) * b for a, b in zip(found, others, strict=True))
    return mean_F, var_F


@dataclass(frozen=True, eq=False)
class PixelBalance:
    """The same where the encoder learns: features are made anew, of some tiles, when it is asked.

    look     features of some tiles of the source, and of the target, by a classifier's encoder,
             whose layers' statistics of the target it estimates before, where they are adapted
    label_N  classes of the source's tiles that it looks at
    every_M  of all that is trained on
    weight_N, every_weight_M  how much each of these counts; None: all alike
    """

    look: Callable[[DomainClassifier], tuple[NDArray[np.float32], NDArray[np.float32]]]
    label_N: NDArray[np.int64]
    num_classes: int
    config: AdaptConfig
    every_M: NDArray[np.int64]
    weight_N: NDArray[np.float64] | None = None
    every_weight_M: NDArray[np.float64] | None = None

    def __call__(self, model: DomainClassifier, ratio_C: Tensor, step: int) -> Balance:
        """See FeatureBalance."""
        source_NF, target_NF = self.look(model)
        found = FeatureBalance(
            source_NF, self.label_N, target_NF, self.num_classes, self.config, self.every_M,
            self.weight_N, self.every_weight_M,
        )  # fmt: skip
        made = found(model, ratio_C, step)
        if model.encoder is None or self.config.layers_normalized_by() != "adapted":
            return made
        return made._replace(layers=target_statistics(model.encoder))


@torch.inference_mode()
def probabilities(
    model: DomainClassifier, features_NF: NDArray[np.float32], domain: int
) -> NDArray[np.float64]:
    """A classifier's answers (N, C) on features of a domain, whether it has an encoder or not."""
    found, device = [], model.mean_2F.device
    for start in range(0, len(features_NF), BLOCK):
        block = torch.from_numpy(features_NF[start : start + BLOCK]).to(device)
        found.append(model.classify(block, domain).logits_BC.cpu().double().softmax(dim=1).numpy())
    return np.concatenate(found)
