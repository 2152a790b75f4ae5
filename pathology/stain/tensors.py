"""Between 8-bit pixels and the tensors of the networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pathology.stain.matrix import Pixels


def to_tensor(tiles_NHW3: Pixels) -> Tensor:
    """Images (N, 3, H, W) from -1 (black) to 1 (white), channels last in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(tiles_NHW3))
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def from_tensor(images_N3HW: Tensor) -> Pixels:
    """8-bit pixels (N, H, W, 3); what lies beyond -1 or 1 is cut."""
    levels = images_N3HW.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())
