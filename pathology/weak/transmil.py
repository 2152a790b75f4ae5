"""TransMIL: tiles of a slide as tokens of a transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pathology.models.tile_head import embedding
from pathology.weak.bag import BagOutput


class SelfAttention(nn.Module):
    """One pre-normalized layer of attention among all tokens, with a residual.

    Exact, by torch's fused kernel, where Shao et al. approximate by Nystrom's method: memory no
    longer grows with the square of the tiles.
    """

    def __init__(self, width: int, num_heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm = nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens_BNH: Tensor) -> Tensor:
        """Tokens of the same shape."""
        parts = self.project(self.norm(tokens_BNH)).chunk(3, dim=2)
        shape = (*tokens_BNH.shape[:2], self.num_heads, -1)
        query, key, value = (part.reshape(shape).transpose(1, 2) for part in parts)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        changed: Tensor = tokens_BNH + self.out(mixed.transpose(1, 2).flatten(2))
        return changed


class PositionPyramid(nn.Module):
    """Convolutions of three sizes over the tokens laid out as a square: PPEG of TransMIL."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in (7, 5, 3)
        )

    def forward(self, tokens_BNH: Tensor, edge: int) -> Tensor:
        """Tokens of the same shape; the first is the class token and stays."""
        first, rest = tokens_BNH[:, :1], tokens_BNH[:, 1:]
        square = rest.transpose(1, 2).reshape(len(rest), -1, edge, edge)
        mixed = square + sum(conv(square) for conv in self.convs)
        return torch.cat([first, mixed.flatten(2).transpose(1, 2)], dim=1)


class TransMil(nn.Module):
    """Shao et al., NeurIPS 2021. The head that grades the class token grades each tile's, too."""

    def __init__(self, num_features: int, num_grades: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = embedding(num_features, width, dropout)
        self.first = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.attend = nn.ModuleList([SelfAttention(width), SelfAttention(width)])
        self.position = PositionPyramid(width)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_grades))

    def forward(self, features_BNF: Tensor) -> BagOutput:
        """Scores of bags (B, N, F)."""
        features = self.embed(features_BNF)
        num, edge = features.shape[1], math.isqrt(features.shape[1] - 1) + 1
        filled = torch.cat([features, features[:, torch.arange(edge * edge - num) % num]], dim=1)
        tokens = torch.cat([self.first.expand(len(features), -1, -1), filled], dim=1)
        tokens = self.attend[0](tokens)
        tokens = self.attend[1](self.position(tokens, edge))
        logits = self.head(tokens)
        return BagOutput(logits[:, 1 : num + 1], logits[:, 0])
