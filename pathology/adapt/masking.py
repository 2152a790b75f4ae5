"""Tiles of which squares are hidden, for learning from what surrounds them.

B batch, H, W height and width, G squares along an edge. Images are float RGB from 0 to 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def draw_shown(random: np.random.Generator, num: int, grid: int, share: float) -> Tensor:
    """Which squares of images are shown, (B, G, G) of bools; each is hidden with a chance of share.

    MIC (Hoyer et al., CVPR 2023, equation 5).
    """
    return torch.from_numpy(random.random((num, grid, grid)) >= share)


def masked(images_B3HW: Tensor, shown_BGG: Tensor, fill: Tensor) -> Tensor:
    """The images, with a color in place of the squares that are not shown.

    fill     RGB (3, 1, 1): best the mean that the network subtracts
    returns  the very images where all is shown
    """
    size = list(images_B3HW.shape[2:])
    near = functional.interpolate(shown_BGG[:, None].to(images_B3HW), size, mode="nearest")
    return torch.where(near > 0, images_B3HW, fill.to(images_B3HW))
