"""What the processes of one training do together. One alone passes nothing around."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pathology.core.errors import PathologyError

Made = TypeVar("Made")
NOTHING_RAN = 2  # the exit code after a refusal


def num_processes() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this one, from 0."""
    return dist.get_rank() if num_processes() > 1 else 0


def gathered(values_B: Tensor) -> Tensor:
    """The rows of all processes, in their order; lengths may differ. Alone: the rows themselves."""
    num = num_processes()
    if num == 1:
        return values_B
    lengths = [torch.zeros(1, dtype=torch.int64, device=values_B.device) for _ in range(num)]
    dist.all_gather(lengths, lengths[0].new_tensor([len(values_B)]))
    longest = max(int(length) for length in lengths)
    padded = values_B.new_zeros((longest, *values_B.shape[1:]))
    padded[: len(values_B)] = values_B
    parts = [torch.empty_like(padded) for _ in range(num)]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(num)] for part, num in zip(parts, lengths, strict=True)])


def in_first(value: Made) -> list[Made]:
    """The values of all processes, in their order, in the first; in any other its own alone.

    All must call it. Tensors in a value lie on the CPU.
    """
    if num_processes() == 1:
        return [value]
    found: list[Any] | None = [None] * num_processes() if rank() == 0 else None
    dist.gather_object(value, found)
    return [value] if found is None else found


def average(tensors: Iterable[Tensor], *, is_exact: bool = False) -> None:
    """Put the mean over all processes in the place of each of these tensors.

    tensors   as many, and of the same shapes, in all processes
    is_exact  add in 64 bits, so that the mean of values that are equal is that value
    """
    if num_processes() == 1:
        return
    every = [tensor.detach() for tensor in tensors]
    if not every:
        return
    flat = torch.cat([tensor.flatten() for tensor in every])
    flat = flat.double() if is_exact else flat
    dist.all_reduce(flat)
    parts = torch.split(flat / num_processes(), [tensor.numel() for tensor in every])
    for tensor, mean in zip(every, parts, strict=True):
        tensor.copy_(mean.view_as(tensor))


def take_from_first(network: nn.Module) -> None:
    """Give a network the weights and buffers that it has in the first process."""
    if num_processes() == 1:
        return
    for tensor in (*network.parameters(), *network.buffers()):
        value = tensor.detach().contiguous()
        dist.broadcast(value, 0)
        tensor.detach().copy_(value)


def from_first(make: Callable[[], Made]) -> Made:
    """What make gives in the first process, which alone calls it, in all of them.

    Where it refuses with a PathologyError or an OSError, the others end quietly.
    """
    if num_processes() == 1:
        return make()
    found: list[Any] = [None, None]
    refusal = None
    if rank() == 0:
        try:
            found[0] = make()
        except (PathologyError, OSError) as error:
            refusal, found[1] = error, True
    dist.broadcast_object_list(found)
    if refusal is not None:
        raise refusal
    if found[1]:
        sys.exit(NOTHING_RAN)
    made: Made = found[0]
    return made
