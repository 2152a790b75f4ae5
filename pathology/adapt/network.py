"""The networks of adaptation: a classifier of two domains, and the judge that tells them apart.

B examples, C classes, F features, W width. Examples are features (B, F), or where there is an
encoder pixels (B, 3, H, W) from 0 to 1, or rows (B, M) that its first part made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathology.adapt.domain_norm import statistics_of
from pathology.models.encoder import Encoder
from pathology.models.tile_head import PeerHead, TileHead, mean_answer

Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]  # mean and variance (F,)
SOURCE, TARGET = 0, 1
LEAST_DEVIATION = 1e-3


class Embedded(NamedTuple):
    """What the classifier gives: hidden features (B, W) and logits (B, C).

    each  logits of either peer, where there are two; else the very logits
    """

    hidden_BW: Tensor
    logits_BC: Tensor
    each: tuple[Tensor, ...]


class DomainClassifier(nn.Module):
    """Features of either domain to classes, normalized by the statistics of their domain first.

    encoder            of pixels; None: it is given features
    is_pair            whether it has two heads, whose mean it answers by
    mean_2F, scale_2F  of the source and of the target; see set_statistics
    """

    mean_2F: Tensor
    scale_2F: Tensor

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        width: int,
        dropout: float,
        encoder: Encoder | None = None,
        *,
        is_pair: bool = False,
    ) -> None:
        super().__init__()
        kind = PeerHead if is_pair else TileHead
        self.head = kind(num_features, num_classes, width, dropout)
        self.encoder = encoder
        self.register_buffer("mean_2F", torch.zeros(2, num_features))
        self.register_buffer("scale_2F", torch.ones(2, num_features))

    def forward(self, examples: Tensor, domain: int) -> Embedded:
        """Hidden features and logits of examples of one domain."""
        return self.classify(self.features(examples, domain), domain)

    def features(self, examples: Tensor, domain: int) -> Tensor:
        """Features (B, F) of examples of one domain."""
        if self.encoder is None:
            return examples
        if examples.ndim == 4:
            examples = examples.contiguous(memory_format=torch.channels_last)
        with statistics_of(self.encoder, is_source=domain == SOURCE):
            found: Tensor = self.encoder(examples)
        return found.float()

    def pair(self, source: Tensor, target: Tensor, *, is_one_batch: bool) -> list[Embedded]:
        """The same of both domains.

        is_one_batch  whether they pass through the encoder together, sharing statistics
        """
        if self.encoder is None or not is_one_batch:
            return [self(source, SOURCE), self(target, TARGET)]
        both_BF = self.features(torch.cat([source, target]), TARGET)
        parts = both_BF[: len(source)], both_BF[len(source) :]
        return [self.classify(part, domain) for domain, part in enumerate(parts)]

    def classify(self, features_BF: Tensor, domain: int) -> Embedded:
        """Hidden features and logits of features of one domain."""
        with torch.autocast(features_BF.device.type, enabled=False):  # little work, all digits
            normalized_BF = (features_BF - self.mean_2F[domain]) / self.scale_2F[domain]
            hidden_BW = self.head.embed(normalized_BF)
            each = self.head.each(hidden_BW)
            return Embedded(hidden_BW, mean_answer(each), each)

    def set_statistics(self, domain: int, found: Statistics) -> None:
        """Normalize a domain by these means and variances."""
        mean_F, var_F = found
        scale_F = np.sqrt(np.maximum(var_F, LEAST_DEVIATION**2))
        self.mean_2F[domain].copy_(torch.from_numpy(np.asarray(mean_F, np.float32)))
        self.scale_2F[domain].copy_(torch.from_numpy(scale_F.astype(np.float32)))

    def folded(self, domain: int) -> TileHead | PeerHead:
        """The same for one domain as a plain head, with the statistics in its first layer."""
        made = deepcopy(self.head).cpu().eval()
        mean_F, scale_F = (x[domain].cpu() for x in (self.mean_2F, self.scale_2F))
        with torch.no_grad():
            for layer in made.firsts:
                layer.weight.div_(scale_F)
                layer.bias.sub_(layer.weight @ mean_F)
        return made

    def unfold(self, weights: Mapping[str, Tensor], domain: int) -> None:
        """Take the weights of a plain head; on examples of this domain it answers as that does.

        Statistics come first. Raises RuntimeError where the head is of another kind.
        """
        self.head.load_state_dict(dict(weights))
        with torch.no_grad():
            for layer in self.head.firsts:
                layer.bias.add_(layer.weight @ self.mean_2F[domain])
                layer.weight.mul_(self.scale_2F[domain])


class Judge(nn.Module):
    """Scores of the domain that examples are of, high for the source: two hidden layers.

    is_conditional  it is given the products of features and probabilities (CDAN: Long et al.,
                    NeurIPS 2018, equation 5)
    """

    def __init__(self, num_in: int, num_classes: int, width: int, *, is_conditional: bool) -> None:
        super().__init__()
        self.is_conditional = is_conditional
        num = num_in * num_classes if is_conditional else num_in
        self.layers = nn.Sequential(
            nn.Linear(num, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, hidden_BW: Tensor, logits_BC: Tensor) -> Tensor:
        """Scores (B,)."""
        if self.is_conditional:
            p_BC = logits_BC.detach().softmax(dim=1)
            hidden_BW = (hidden_BW[:, :, None] * p_BC[:, None, :]).flatten(1)
        scores_B: Tensor = self.layers(hidden_BW)[:, 0]
        return scores_B


def weighted_statistics(
    features_NF: NDArray[np.float32], weight_N: NDArray[np.float64] | None = None
) -> Statistics:
    """Mean and variance (F,) of features, each example counting by its weight."""
    weight_N = np.ones(len(features_NF)) if weight_N is None else weight_N
    share_N = weight_N / weight_N.sum()
    mean_F = share_N @ features_NF
    var_F = share_N @ np.square(features_NF - mean_F)
    return np.asarray(mean_F, np.float64), np.asarray(var_F, np.float64)
