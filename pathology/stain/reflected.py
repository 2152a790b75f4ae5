"""Margins by reflection that keep channels last in memory, as convolutions on a GPU want them.

B batch, C channels, H, W height and width, P margin.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ReflectedConv(nn.Conv2d):
    """A convolution with reflected borders; nn.Conv2d with padding_mode="reflect" but for speed.

    CUDA's own reflection gives channels first, so that each convolution copies its input and its
    gradient to another layout: a third of a step's time.
    """

    def __init__(self, num_in: int, num_out: int, kernel: int, stride: int, margin: int) -> None:
        super().__init__(num_in, num_out, kernel, stride, margin, padding_mode="reflect")
        self.margin = margin

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Features (B, num_out, H / stride, W / stride)."""
        if not images_BCHW.is_cuda:
            return super().forward(images_BCHW)
        padded = reflected(images_BCHW, self.margin)
        return functional.conv2d(padded, self.weight, self.bias, self.stride)


def reflected(images_BCHW: Tensor, margin: int) -> Tensor:
    """Images (B, C, H + 2P, W + 2P) with channels last, mirrored about their outermost pixels."""
    made: Tensor = _Reflected.apply(images_BCHW, margin)
    return made


class _Reflected(torch.autograd.Function):
    """Pixels are gathered at once; gradients of the margins are added where they came from."""

    @staticmethod
    def forward(ctx: Any, images_BCHW: Tensor, margin: int) -> Tensor:
        ctx.margin = margin
        rows_BHWC = images_BCHW.permute(0, 2, 3, 1)
        batch, height, width, channels = rows_BHWC.shape
        places = _places(height, width, margin, images_BCHW.device)
        found = rows_BHWC.reshape(batch, height * width, channels).index_select(1, places)
        size = (batch, height + 2 * margin, width + 2 * margin, channels)
        return found.view(size).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient_BCHW: Tensor) -> tuple[Tensor, None]:
        whole = gradient_BCHW.permute(0, 2, 3, 1)
        return _folded(_folded(whole, 1, ctx.margin), 2, ctx.margin).permute(0, 3, 1, 2), None


def _folded(gradient: Tensor, axis: int, margin: int) -> Tensor:
    """A gradient without its margins along an axis, which are added to what they mirror."""
    size = gradient.shape[axis] - 2 * margin
    inner = gradient.narrow(axis, margin, size).clone(memory_format=torch.contiguous_format)
    first, last = gradient.narrow(axis, 0, margin), gradient.narrow(axis, margin + size, margin)
    if margin > 1:
        first, last = first.flip(axis), last.flip(axis)
    inner.narrow(axis, 1, margin).add_(first)
    inner.narrow(axis, size - 1 - margin, margin).add_(last)
    return inner


@lru_cache(maxsize=64)
def _places(height: int, width: int, margin: int, device: torch.device) -> Tensor:
    """The pixel, numbered row by row, that stands at each place of the image with its margins."""
    rows, columns = (_mirror(size, margin) for size in (height, width))
    return (rows[:, None] * width + columns).flatten().to(device)


def _mirror(size: int, margin: int) -> Tensor:
    place = torch.arange(-margin, size + margin).abs()
    return torch.where(place < size, place, 2 * (size - 1) - place)
