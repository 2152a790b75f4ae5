"""By which statistics the normalization layers of a learning encoder work, domain by domain.

A batch of two domains has means that neither has. Where a network normalizes by them, and a judge
tells domains apart meanwhile, what it learns is of little use on either alone: so layers keep the
statistics that they came with, unless they are told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pathology.adapt.config import BatchNorm
from pathology.models.encoder import Encoder

OWN = {"running_mean": "source_mean", "running_var": "source_var"}  # the target's, the source's


def choose_statistics(encoder: Encoder, way: BatchNorm) -> None:
    """Make the normalization layers of the blocks that learn work as said; see AdaptConfig.

    Frozen blocks are not touched: call Encoder.learn_last before. With separate statistics a layer
    has those of the target by its usual names, and those of the source beside them.
    """
    if way == "frozen":
        encoder.keep_statistics()
    elif way == "separate":
        for norm in encoder.learning_norms():
            for usual, own in OWN.items():
                found = getattr(norm, usual)
                norm.register_buffer(own, found.detach().clone())


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
