"""Normalization by statistics that do not change, as a part of the convolution before it.

Such a layer multiplies and shifts each channel, which the convolution's weights can do as well; the
layer's own pass over its maps, and another for gradients, are saved. Weights keep their names and
learn as they would.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from typing import Any

import torch
from torch import Tensor, fx, nn


def fold_norms(network: nn.Module, with_activation: type[nn.BatchNorm2d]) -> int:
    """Join each convolution that learns and the normalization after it, wherever that is not in
    training. A network whose steps cannot be told stays as it is. Returns the number of pairs.

    with_activation  the kind of layer that normalizes, then drops and activates (timm's)
    """
    pairs = _pairs(network, {nn.BatchNorm2d, with_activation})
    for conv, norm in pairs:
        vars(conv)["forward"], vars(norm)["forward"] = _Joined(conv, norm), _Rest(norm)
    return len(pairs)


class _Joined:
    """What a convolution does, and what the normalization after it would do to each channel."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm

    def __call__(self, maps_BCHW: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        if not norm.training:
            conv = _normalized(conv, norm)
        made: Tensor = type(conv).forward(conv, maps_BCHW)
        return made


class _Rest:
    """What is left to a normalization: an activation that it may hold."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm

    def __call__(self, maps_BCHW: Tensor) -> Tensor:
        norm: Any = self.norm
        if norm.training:
            made: Tensor = type(norm).forward(norm, maps_BCHW)
            return made
        return maps_BCHW if type(norm) is nn.BatchNorm2d else norm.act(norm.drop(maps_BCHW))


def _normalized(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that gives normalized maps; gradients reach the weights of both."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    before = -mean if conv.bias is None else conv.bias - mean
    made = copy(conv)
    weights: dict[str, Any] = {
        "weight": conv.weight * scale[:, None, None, None],
        "bias": torch.addcmul(norm.bias, before, scale),
    }
    made._parameters = weights
    return made


def _pairs(
    network: nn.Module, known: set[type[nn.BatchNorm2d]]
) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions that learn, each with the normalization that alone takes what it gives."""
    try:
        graph = _Steps().trace(network)
    except Exception:  # noqa: BLE001 (whatever a network's own lines do with what they are shown)
        return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    once = {target for target, num in Counter(node.target for node in calls).items() if num == 1}
    found = []
    for node in calls:
        before = node.args[0]
        if not isinstance(before, fx.Node) or not {before.target, node.target} <= once:
            continue
        conv, norm = (network.get_submodule(str(n.target)) for n in (before, node))
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            continue
        has_all = type(norm) in known and norm.affine and norm.running_mean is not None
        if conv.weight.requires_grad and has_all and len(before.users) == 1:
            found.append((conv, norm))
    return found


class _Steps(fx.Tracer):
    """Shows convolutions and normalizations as single steps, and the lines between them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_step = isinstance(m, nn.Conv2d | nn.BatchNorm2d)
        return is_step or super().is_leaf_module(m, module_qualified_name)
