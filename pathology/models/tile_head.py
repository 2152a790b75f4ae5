"""What stands between features and classes: one hidden layer or none, and a linear head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def embedding(num_features: int, width: int, dropout: float) -> nn.Sequential:
    """Features (..., F) to (..., width): linear, ReLU, dropout."""
    return nn.Sequential(nn.Linear(num_features, width), nn.ReLU(), nn.Dropout(dropout))


class TileHead(nn.Module):
    """Features of tiles to logits of C classes.

    width  of the layer between; 0: none
    """

    def __init__(self, num_features: int, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.num_features, self.num_classes, self.width = num_features, num_classes, width
        self.embed = embedding(num_features, width, dropout) if width else nn.Dropout(dropout)
        self.head = nn.Linear(width or num_features, num_classes)

    @property
    def firsts(self) -> tuple[nn.Linear, ...]:
        """The layer that sees features."""
        if isinstance(self.embed, nn.Sequential) and isinstance(self.embed[0], nn.Linear):
            return (self.embed[0],)
        return (self.head,)

    def each(self, hidden_BW: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, C) of hidden features, by the one head that there is."""
        return (self.head(hidden_BW),)

    def cool(self, temperature: float) -> None:
        """Divide the logits by a temperature, from here on."""
        with torch.no_grad():
            self.head.weight.div_(temperature)
            self.head.bias.div_(temperature)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Logits (B, C)."""
        logits: Tensor = self.head(self.embed(features_BF))
        return logits


class PeerHead(nn.Module):
    """Two heads side by side, with weights of their own; they answer by their mean probabilities.

    width  of both hidden layers together
    """

    def __init__(self, num_features: int, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.num_features, self.num_classes, self.width = num_features, num_classes, 2 * width
        self.one = TileHead(num_features, num_classes, width, dropout)
        self.other = TileHead(num_features, num_classes, width, dropout)

    @property
    def firsts(self) -> tuple[nn.Linear, ...]:
        """The layers that see features."""
        return (*self.one.firsts, *self.other.firsts)

    def embed(self, features_BF: Tensor) -> Tensor:
        """Hidden features of both, one's after the other's: (B, width)."""
        return torch.cat([self.one.embed(features_BF), self.other.embed(features_BF)], dim=-1)

    def each(self, hidden_BW: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, C) of hidden features, by either head."""
        mine, others = hidden_BW.chunk(2, dim=-1)
        return self.one.head(mine), self.other.head(others)

    def cool(self, temperature: float) -> None:
        """Divide the logits of both by a temperature, from here on."""
        self.one.cool(temperature)
        self.other.cool(temperature)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Logarithms (B, C) of the mean of both's probabilities."""
        return mean_answer(self.each(self.embed(features_BF)))


def mean_answer(each: tuple[Tensor, ...]) -> Tensor:
    """Logits whose softmax is the mean of those of several heads; of one head, its own."""
    if len(each) == 1:
        return each[0]
    logs = torch.stack([logits.log_softmax(dim=-1) for logits in each])
    return torch.logsumexp(logs, dim=0) - math.log(len(each))
