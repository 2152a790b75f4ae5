"""CoUDA: two peers that doubt together, each with a judge, and labels that may have been mistaken.

Zhang et al., IEEE TIP 2020. B examples, C classes, W width of both peers' hidden features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pathology.adapt.config import AdaptConfig
from pathology.adapt.losses import noisy_log_probabilities
from pathology.adapt.network import DomainClassifier, Judge


class PeerJudges(nn.Module):
    """A judge for either peer's hidden features, of which the one's come before the other's."""

    def __init__(self, num_in: int, num_classes: int, width: int, *, is_conditional: bool) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            Judge(num_in // 2, num_classes, width, is_conditional=is_conditional) for _ in range(2)
        )

    def forward(self, hidden_BW: Tensor, logits_BC: Tensor) -> Tensor:
        """Scores (2, B) of the domain, high for the source."""
        parts = zip(self.judges, hidden_BW.chunk(2, dim=1), strict=True)
        return torch.stack([judge(hidden, logits_BC) for judge, hidden in parts])


class NotedLabels(nn.Module):
    """The noise-adaptation layer, one for both peers: what is taught are labels as noted.

    share  of labels that are thought to be mistaken at the start, 0 to 1; the layer learns on
    """

    def __init__(self, num_classes: int, share: float) -> None:
        super().__init__()
        noise_CC = torch.full((num_classes, num_classes), share / max(1, num_classes - 1))
        noise_CC.fill_diagonal_(1 - share)
        self.noise_CC = nn.Parameter(noise_CC.log())

    def forward(self, logits_BC: Tensor) -> Tensor:
        """Log-probabilities (B, C) of the labels that were noted; they are logits, too."""
        return noisy_log_probabilities(logits_BC, self.noise_CC)


def doubt(each: tuple[Tensor, ...]) -> Tensor:
    """How much an example counts for the judges, (B,): from 1, where both peers agree, to 2.

    Two less the cosine of both's probabilities: what they read differently carries over badly, and
    has the more to be aligned. A weight is no way to agree: no gradient passes through it. Of one
    head, 1.
    """
    one_BC, other_BC = (logits.detach().softmax(dim=1) for logits in (each[0], each[-1]))
    if len(each) == 1:
        return torch.ones_like(one_BC[:, 0])
    return 2 - functional.cosine_similarity(one_BC, other_BC, dim=1)


def networks_beside(config: AdaptConfig, model: DomainClassifier) -> tuple[nn.Module, nn.Module]:
    """What learns with the classifier and is not kept: the judge, and what notes labels."""
    head, terms = model.head, config.term_weights()
    kind = PeerJudges if terms.is_pair else Judge
    num_in = head.width or head.num_features * len(head.firsts)
    judge = kind(num_in, head.num_classes, config.judge_width, is_conditional=terms.is_conditional)
    noted = NotedLabels(head.num_classes, terms.noise) if terms.noise else nn.Identity()
    device = model.mean_2F.device
    return judge.to(device), noted.to(device)
