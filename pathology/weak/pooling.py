"""Slide scores as a pooling of tile scores: the simplest multiple-instance networks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pathology.models.tile_head import PeerHead, TileHead
from pathology.weak.bag import BagOutput
from pathology.weak.losses import ordinal_logits

Pooling = Literal["mean", "max", "topk"]


class PooledTiles(TileHead):
    """A tile classifier, and slides by the mean, maximum or top-k mean of their tiles' logits.

    share       of a slide's tiles that top-k takes, one at least
    is_ordinal  grades by a chain of "beyond this grade?" questions in place of a softmax
    """

    def __init__(
        self,
        num_features: int,
        num_grades: int,
        *,
        width: int,
        dropout: float,
        pooling: Pooling = "topk",
        share: float = 0.1,
        is_ordinal: bool = False,
    ) -> None:
        super().__init__(num_features, num_grades - is_ordinal, width, dropout)
        self.pooling, self.share, self.is_ordinal = pooling, share, is_ordinal

    def forward(self, features_BNF: Tensor) -> BagOutput:  # type: ignore[override]
        """Scores of bags (B, N, F)."""
        logits = super().forward(features_BNF)
        if self.is_ordinal:
            logits = ordinal_logits(logits.flatten(0, 1)).reshape(*logits.shape[:2], -1)
        return BagOutput(logits, pooled(logits, self.pooling, self.share))


class PooledPeers(PeerHead):
    """Tiles by the mean of two heads, and slides by the mean of their tiles' logits."""

    def forward(self, features_BNF: Tensor) -> BagOutput:  # type: ignore[override]
        """Scores of bags (B, N, F)."""
        logits = super().forward(features_BNF)
        return BagOutput(logits, pooled(logits, "mean"))


def pooled(logits_BNC: Tensor, pooling: Pooling, share: float = 0.1) -> Tensor:
    """Logits (B, C) of slides from those of their tiles, each grade by itself.

    share  of the tiles whose logits are averaged by top-k: the highest of each grade
    """
    if pooling == "mean":
        return logits_BNC.mean(dim=1)
    if pooling == "max":
        return logits_BNC.amax(dim=1)
    num = max(1, round(share * logits_BNC.shape[1]))
    return torch.topk(logits_BNC, num, dim=1).values.mean(dim=1)
