"""Attention pooling: ABMIL, and CLAM with one attention or one for each grade."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pathology.models.tile_head import embedding
from pathology.weak.bag import BagOutput


class GatedAttention(nn.Module):
    """Attention scores of tiles: Ilse et al., ICML 2018, eq. 9."""

    def __init__(self, width: int, hidden: int, num_heads: int = 1) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, num_heads)

    def forward(self, features_BNH: Tensor) -> Tensor:
        """Raw scores (B, heads, N)."""
        value = torch.tanh(self.value(features_BNH))
        scores: Tensor = self.score(value * torch.sigmoid(self.gate(features_BNH)))
        return scores.transpose(1, 2)


class AttentionBag(nn.Module):
    """ABMIL; with one attention for each grade, the bag branch of CLAM-MB.

    The head that grades the weighted mean of a slide's features grades each tile's features, too:
    that is the tile score, as attention itself has no grade.
    """

    def __init__(
        self,
        num_features: int,
        num_grades: int,
        *,
        width: int,
        dropout: float,
        is_multi_branch: bool = False,
    ) -> None:
        super().__init__()
        self.embed = embedding(num_features, width, dropout)
        self.num_heads = num_grades if is_multi_branch else 1
        self.attention = GatedAttention(width, max(1, width // 2), self.num_heads)
        self.head = nn.Linear(width, num_grades)

    def forward(self, features_BNF: Tensor) -> BagOutput:
        """Scores of bags (B, N, F)."""
        return self.graded(self.embed(features_BNF))

    def graded(self, features_BNH: Tensor) -> BagOutput:
        """Scores of bags whose features are embedded already."""
        weights_BKN = self.attention(features_BNH).softmax(dim=2)
        mean_BKH = weights_BKN @ features_BNH
        logits_BKC = self.head(mean_BKH)
        slide_BC = logits_BKC[:, 0]
        if self.num_heads > 1:
            slide_BC = torch.diagonal(logits_BKC, dim1=1, dim2=2)
        return BagOutput(self.head(features_BNH), slide_BC, weights_BKN)


class Clam(nn.Module):
    """CLAM (Lu et al., Nature Biomedical Engineering 2021): ABMIL that also learns to tell apart
    the tiles that it looks at most and least, by a small classifier for each grade.
    """

    def __init__(
        self,
        num_features: int,
        num_grades: int,
        *,
        width: int,
        dropout: float,
        is_multi_branch: bool,
        num_instances: int = 8,
    ) -> None:
        super().__init__()
        self.bag = AttentionBag(
            num_features, num_grades, width=width, dropout=dropout, is_multi_branch=is_multi_branch
        )
        self.num_instances = num_instances
        self.instance = nn.ModuleList(nn.Linear(width, 2) for _ in range(num_grades))

    def forward(self, features_BNF: Tensor, label_B: Tensor | None = None) -> BagOutput:
        """Scores of bags (B, N, F); with the slides' labels, the instance loss beside them."""
        features = self.bag.embed(features_BNF)
        output = self.bag.graded(features)
        if label_B is None or output.attention_BKN is None:
            return output
        return output._replace(own_loss=self.instance_loss(features, output.attention_BKN, label_B))

    def instance_loss(self, features_BNH: Tensor, attention_BKN: Tensor, label_B: Tensor) -> Tensor:
        """Mean cross-entropy of the most and the least attended tiles as in and out of the grade.

        With a smoothed top-1 SVM in CLAM, with cross-entropy as its --inst_loss ce has it.
        """
        num_heads, num_tiles = attention_BKN.shape[1:]
        num = min(self.num_instances, num_tiles // 2)
        if num == 0:
            return features_BNH.sum() * 0
        truth = torch.tensor([1] * num + [0] * num, device=label_B.device)
        losses = []
        for weights_KN, features_NH, label in zip(
            attention_BKN, features_BNH, label_B.tolist(), strict=True
        ):
            order = weights_KN[min(label, num_heads - 1)].argsort(descending=True)
            rows = torch.cat([order[:num], order[-num:]])
            losses.append(functional.cross_entropy(self.instance[label](features_NH[rows]), truth))
        return torch.stack(losses).mean()
