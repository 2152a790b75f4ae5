"""What all processes of a training hold, together in each of them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(values_B: Tensor) -> Tensor:
    """The rows of all processes, in their order; lengths may differ. Alone: the rows themselves."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values_B
    lengths = [torch.zeros(1, dtype=torch.int64, device=values_B.device) for _ in _ranks()]
    dist.all_gather(lengths, lengths[0].new_tensor([len(values_B)]))
    longest = max(int(length) for length in lengths)
    padded = values_B.new_zeros((longest, *values_B.shape[1:]))
    padded[: len(values_B)] = values_B
    parts = [torch.empty_like(padded) for _ in _ranks()]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(num)] for part, num in zip(parts, lengths, strict=True)])


def _ranks() -> range:
    return range(dist.get_world_size())
