"""What stands between features and classes: one hidden layer or none, and a linear head."""

from __future__ import annotations

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
    def first(self) -> nn.Linear:
        """The layer that sees features."""
        if isinstance(self.embed, nn.Sequential) and isinstance(self.embed[0], nn.Linear):
            return self.embed[0]
        return self.head

    def forward(self, features_BF: Tensor) -> Tensor:
        """Logits (B, C)."""
        logits: Tensor = self.head(self.embed(features_BF))
        return logits
