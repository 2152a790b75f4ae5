"""Losses of tiles whose slides alone are labelled. B tiles, C ordered grades, benign first.

Chen et al., MICCAI 2019 ("Rectified Cross-Entropy and Upper Transition Loss"), from its public
re-implementations. All take raw logits; reduce at the call site.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def rectified_cross_entropy(logits_BC: Tensor, label_B: Tensor, weight_B: Tensor) -> Tensor:
    """Cross-entropy of each tile with its slide's grade, times a constant weight: w * -log p[y].

    label_B   grades of the tiles' slides, 0 to C-1
    weight_B  from 0 (left out) to 1; no gradient passes through it
    returns   (B,), at least 0
    """
    return weight_B.detach() * functional.cross_entropy(logits_BC, label_B, reduction="none")


def upper_transition(logits_BC: Tensor, label_B: Tensor) -> Tensor:
    """The punishment of what a tile gives to grades above its slide's: -log(1 - sum of p[c > y]).

    returns   (B,), 0 where nothing lies above

    The mass form: 1 - sum p[c>y] is the mass up to the slide's grade, and its logarithm a
    difference of two logsumexps, so that nothing cancels.
    """
    above_BC = _above(logits_BC, label_B)
    up_to_B = logits_BC.masked_fill(above_BC, -torch.inf).logsumexp(dim=1)
    return logits_BC.logsumexp(dim=1) - up_to_B


def upper_transition_by_class(logits_BC: Tensor, label_B: Tensor) -> Tensor:
    """The same punished class by class: -sum over c>y of log(1 - p[c]).

    returns   (B,); equal to the mass form where one class at most lies above
    """
    every_B = logits_BC.logsumexp(dim=1)
    terms = []
    for c in range(logits_BC.shape[1]):
        others_BC = torch.cat([logits_BC[:, :c], logits_BC[:, c + 1 :]], dim=1)
        terms.append(every_B - others_BC.logsumexp(dim=1))
    above_BC = _above(logits_BC, label_B)
    return torch.where(above_BC, torch.stack(terms, dim=1), 0.0).sum(dim=1)


def slide_grades(share_C: Sequence[float]) -> Tensor:
    """How often a tile of a grade lies on slides of each grade: (C, C), tile's by slide's, where
    slides of all grades are drawn alike.

    share_C  share of the tiles of a slide of grade c that are of that grade; the others are as on a
             slide of the grade below. On slides of the lowest grade all are of it.

    No tile lies on a slide of a lower grade; each row sums to 1.
    """
    on_slide_C = torch.zeros(len(share_C))
    columns = []
    for grade, share in enumerate(share_C):
        own = torch.zeros(len(share_C))
        own[grade] = 1.0
        on_slide_C = own if grade == 0 else share * own + (1 - share) * on_slide_C
        columns.append(on_slide_C)
    occurs_CC = torch.stack(columns, dim=1)
    return occurs_CC / occurs_CC.sum(dim=1, keepdim=True)


def forward_cross_entropy(logits_BC: Tensor, label_B: Tensor, grade_CC: Tensor) -> Tensor:
    """How surprising a slide's grade is, given what is thought of a tile of it:
    -log sum over c of p[c] T[c, y].

    grade_CC  T, the probability of a slide's grade given a tile's; see slide_grades
    returns   (B,), at least 0

    Forward correction of labels (Patrini et al., CVPR 2017, equation 6), with the order of grades
    in T: what lies above the slide's grade explains nothing. Where T[c, y] is the same for all
    c <= y it is the upper-transition loss, but for a constant.
    """
    joint_BC = logits_BC + grade_CC.log().T[label_B]
    return logits_BC.logsumexp(dim=1) - joint_BC.logsumexp(dim=1)


def ordinal_logits(steps_BK: Tensor) -> Tensor:
    """Log-probabilities (B, K+1) of grades from K scores "beyond grade k, given at least k".

    The conditional form of CORN (Shi et al., Pattern Analysis and Applications 2023): P(y > k) is
    the product of the sigmoids up to k. Being normalized logits, they serve every loss here.
    """
    beyond_BK = functional.logsigmoid(steps_BK).cumsum(dim=1)
    stop_BK = functional.logsigmoid(-steps_BK)
    reached_BK = torch.cat([torch.zeros_like(beyond_BK[:, :1]), beyond_BK[:, :-1]], dim=1)
    return torch.cat([reached_BK + stop_BK, beyond_BK[:, -1:]], dim=1)


def _above(logits_BC: Tensor, label_B: Tensor) -> Tensor:
    """Which classes lie above each tile's slide, (B, C)."""
    grades_C = torch.arange(logits_BC.shape[1], device=logits_BC.device)
    return grades_C > label_B[:, None]
