"""By which statistics the normalization layers of a learning encoder work, domain by domain.

A batch of two domains has means that neither has. Where a network normalizes by them, and a judge
tells domains apart meanwhile, what it learns is of little use on either alone: so layers keep the
statistics that they came with, unless they are told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pathology.adapt.config import BatchNorm
from pathology.models.encoder import Encoder

OWN = {"running_mean": "source_mean", "running_var": "source_var"}  # the target's, the source's
LayerStatistics = tuple[tuple[Tensor, Tensor], ...]  # mean and variance of the channels, by layer


def choose_statistics(encoder: Encoder, way: BatchNorm) -> None:
    """Make the normalization layers of the blocks that learn work as said; see AdaptConfig.

    Frozen blocks are not touched: call Encoder.learn_last before. With separate or adapted
    statistics a layer has those of the target by its usual names, and those of the source beside
    them.
    """
    if way == "frozen":
        encoder.keep_statistics()
    elif has_two(way):
        for norm in encoder.learning_norms():
            for usual, own in OWN.items():
                found = getattr(norm, usual)
                norm.register_buffer(own, found.detach().clone())


def has_two(way: BatchNorm) -> bool:
    """Whether layers have statistics of each domain, and the domains pass through them apart."""
    return way in ("separate", "adapted")


@torch.no_grad()
def adapt_statistics(encoder: Encoder, blocks: Iterable[Tensor], share: float = 1.0) -> None:
    """Estimate the target's statistics anew, from its tiles; the source's are left alone.

    blocks  tiles of the target as the encoder takes them, every block of all kinds
    share   how much they count; the rest is the source's statistics

    AdaBN (Li et al., ICLR workshops 2017), with few tiles as Schneider et al. (NeurIPS 2020,
    equation 3). A layer's are known before the next one is reached: of one block they are exact,
    of several those of deeper layers nearly so.
    """
    hooks = [
        norm.register_forward_pre_hook(partial(_measure, _Moments(share)))
        for norm in _with_two(encoder)
    ]
    encoder.eval().training = True  # it may then run what does not learn in a faster way
    try:
        for block in blocks:
            encoder(block)
    finally:
        encoder.eval()
        for hook in hooks:
            hook.remove()


class _Moments:
    """Mean and mean square of all that came to a layer so far; see adapt_statistics."""

    def __init__(self, share: float) -> None:
        self.share, self.num = share, 0
        self.sum_2C = torch.zeros(())

    def add(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) of the values (B, C, ...) up to these."""
        values_CN = values.float().transpose(0, 1).flatten(1)
        var_C, mean_C = torch.var_mean(values_CN, dim=1, correction=0)
        mean_C, var_C, num = mean_C.cpu().double(), var_C.cpu().double(), values_CN.shape[1]
        self.sum_2C = self.sum_2C + num * torch.stack([mean_C, var_C + mean_C.square()])
        self.num += num
        mean_C, square_C = self.sum_2C / self.num
        return mean_C, (square_C - mean_C.square()).clamp_min(0)


def _measure(moments: _Moments, norm: nn.Module, given: tuple[Tensor, ...]) -> None:
    """Before a layer normalizes: give it the statistics by which it shall."""
    for (usual, own), found in zip(OWN.items(), moments.add(given[0]), strict=True):
        kept = norm.get_buffer(own)
        norm.get_buffer(usual).copy_(
            torch.lerp(kept, found.to(kept.dtype).to(kept.device), moments.share)
        )


def target_statistics(encoder: nn.Module) -> LayerStatistics:
    """Copies of those of the target, in layers that have two, on the CPU."""
    return tuple(
        (
            norm.get_buffer("running_mean").cpu().clone(),
            norm.get_buffer("running_var").cpu().clone(),
        )
        for norm in _with_two(encoder)
    )


def set_target_statistics(encoder: nn.Module, found: LayerStatistics) -> None:
    """Put such values in their place."""
    for norm, values in zip(_with_two(encoder), found, strict=True):
        for usual, value in zip(OWN, values, strict=True):
            norm.get_buffer(usual).copy_(value)


@contextmanager
def statistics_of(encoder: nn.Module, *, is_source: bool) -> Iterator[None]:
    """Within it, layers with statistics of both domains use, and in training move, those asked."""
    norms = _with_two(encoder) if is_source else []
    _swap(norms)
    try:
        yield
    finally:
        _swap(norms)


def encoder_of(encoder: Encoder, *, is_source: bool) -> Encoder:
    """A copy for one domain, in use: with the statistics of that domain and no others."""
    made = deepcopy(encoder).requires_grad_(False).eval()
    norms = _with_two(made)
    if is_source:
        _swap(norms)
    for norm in norms:
        for own in OWN.values():
            delattr(norm, own)
    return made


def _with_two(encoder: nn.Module) -> list[_BatchNorm]:
    """Layers with statistics of both domains."""
    return [m for m in encoder.modules() if isinstance(m, _BatchNorm) and hasattr(m, "source_var")]


def _swap(norms: list[_BatchNorm]) -> None:
    for norm in norms:
        for usual, own in OWN.items():
            one, other = getattr(norm, usual), getattr(norm, own)
            setattr(norm, usual, other)
            setattr(norm, own, one)
