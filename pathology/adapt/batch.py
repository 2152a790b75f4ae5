"""What a step of adaptation sees."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class DomainBatch(NamedTuple):
    """Examples of both domains: features (B, F), or pixels (B, 3, H, W) from 0 to 1.

    S of the source and T of the target need not be equal.

    source, label_S  with their classes
    weight_S         how much each counts
    target           without labels
    label_T          the target's classes for the oracle, -1 for all others
    hidden           the target once more, each tile hidden in part; None where nothing learns of it
    """

    source: Tensor
    label_S: Tensor
    weight_S: Tensor
    target: Tensor
    label_T: Tensor
    hidden: Tensor | None = None
