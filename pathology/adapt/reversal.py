"""Gradient reversal: what helps a judge to tell two domains apart is unlearned before it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """The values themselves; their gradient comes back times -strength.

    Ganin and Lempitsky, ICML 2015.
    """
    made: Tensor = _Reversal.apply(values, strength)
    return made


def reversal_strength(step: float, total: int, steepness: float = 10.0) -> float:
    """From 0 to 1 over a training: a function of the step and nothing else.

    2 / (1 + exp(-steepness * step / total)) - 1, as in DANN (Ganin et al., JMLR 2016).
    """
    progress = min(max(step / max(1, total), 0.0), 1.0)
    return 2.0 / (1.0 + math.exp(-steepness * progress)) - 1.0
