"""DSMIL: a tile classifier, and attention of all tiles to the most critical one of each grade."""

from __future__ import annotations

from torch import Tensor, nn

from pathology.models.tile_head import embedding
from pathology.weak.bag import BagOutput


class DsMil(nn.Module):
    """Li et al., CVPR 2021. Slide logits are the mean of both streams, as there.

    Either stream is trained by itself, the first by its maximum: tile scores come from it.
    """

    def __init__(self, num_features: int, num_grades: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = embedding(num_features, width, dropout)
        self.tile = nn.Linear(width, num_grades)
        self.query = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 128), nn.Tanh())
        self.value = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, width))
        self.slide = nn.Conv1d(num_grades, num_grades, kernel_size=width)

    def forward(self, features_BNF: Tensor) -> BagOutput:
        """Scores of bags (B, N, F)."""
        features = self.embed(features_BNF)
        tile_BNC = self.tile(features)
        critical_BC = tile_BNC.argmax(dim=1)
        chosen = features.gather(1, critical_BC[..., None].expand(-1, -1, features.shape[2]))
        query_BNQ, critical_BCQ = self.query(features), self.query(chosen)
        scores_BNC = query_BNQ @ critical_BCQ.transpose(1, 2) / query_BNQ.shape[2] ** 0.5
        weights_BNC = scores_BNC.softmax(dim=1)
        mean_BCH = weights_BNC.transpose(1, 2) @ self.value(features)
        slide_BC = 0.5 * (self.slide(mean_BCH)[..., 0] + tile_BNC.amax(dim=1))
        return BagOutput(tile_BNC, slide_BC, weights_BNC.transpose(1, 2))
