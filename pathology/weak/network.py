"""The network of each method: bags of features to scores of tiles and slides."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pathology.weak.attention import AttentionBag, Clam
from pathology.weak.bag import BagOutput
from pathology.weak.config import BY_TILE, WeakConfig
from pathology.weak.dsmil import DsMil
from pathology.weak.pooling import PooledTiles
from pathology.weak.transmil import TransMil


def bag_network(config: WeakConfig, num_features: int) -> nn.Module:
    """A new network of the method that was chosen, for features of that length."""
    method, num_grades = config.method, len(config.grades)
    if method in BY_TILE or method in ("mean", "max", "topk"):
        return PooledTiles(
            num_features, num_grades, width=config.width, dropout=config.dropout,
            pooling="mean" if method == "mean" else "max" if method == "max" else "topk",
            share=config.topk, is_ordinal=config.is_ordinal,
        )  # fmt: skip
    width = config.width or num_features
    if method == "abmil":
        return AttentionBag(num_features, num_grades, width=width, dropout=config.dropout)
    if method in ("clam-sb", "clam-mb"):
        return Clam(
            num_features, num_grades, width=width, dropout=config.dropout,
            is_multi_branch=method == "clam-mb",
        )  # fmt: skip
    kind = DsMil if method == "dsmil" else TransMil
    return kind(num_features, num_grades, width=width, dropout=config.dropout)


class BagClassifier(nn.Module):
    """An encoder, or none where features are given, and the network of a method."""

    def __init__(self, bag: nn.Module, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.bag, self.encoder = bag, encoder

    def take(self, weights: Mapping[str, Tensor], *, has_encoder: bool) -> str:
        """Load the weights of a model's file; what does not fit, or "".

        has_encoder  whether the file is to hold the encoder's; without an encoder here, they are
                     left out
        """
        if self.encoder is None:
            weights = {name: v for name, v in weights.items() if name.startswith("bag.")}
        try:
            missing, surplus = self.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            return " ".join(str(error).split())[:200]
        lost = [name for name in missing if name.startswith("bag.") or has_encoder]
        return f"e.g. {(lost or surplus)[0]}" if lost or surplus else ""

    def forward(self, tiles_BNF: Tensor, label_B: Tensor | None = None) -> BagOutput:
        """Scores of bags of features (B, N, F) or of pixels (B, N, 3, H, W), or, for the last
        blocks of an encoder, of maps as rows (B, N, M).

        label_B  of the slides, in training, for a method with a loss of its own
        """
        if self.encoder is not None:
            num, tiles = tiles_BNF.shape[0], tiles_BNF.flatten(0, 1)
            if tiles.ndim == 4:
                tiles = tiles.contiguous(memory_format=torch.channels_last)
            features = self.encoder(tiles)
            tiles_BNF = features.reshape(num, -1, features.shape[1])
        told = (label_B,) if isinstance(self.bag, Clam) else ()
        output: BagOutput = self.bag(tiles_BNF, *told)
        return output
