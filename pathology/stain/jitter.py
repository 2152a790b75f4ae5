"""Source images stained and scanned otherwise than they were, so that training sees more styles.

B batch, H, W height and width. Images are float RGB from -1 (black) to 1 (white).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pathology.stain.losses import OD_FLOOR
from pathology.stain.networks import to_grey

STRENGTH, LIGHT = (0.7, 1.4), (0.92, 1.05)  # factors of optical density, and of intensity


def channel_factors(random: np.random.Generator, num: int, jitter: float) -> Tensor:
    """Factors (num, 3) of optical density, log-normal about 1 with that standard deviation."""
    return torch.as_tensor(np.exp(jitter * random.standard_normal((num, 3))), dtype=torch.float32)


def restained(images_B3HW: Tensor, factor_B3: Tensor) -> Tensor:
    """The images with the optical density of each channel times a factor; glass stays."""
    factor = factor_B3.to(images_B3HW.device)[:, :, None, None]
    return _intensity(images_B3HW) ** factor * 2 - 1


def restyled(style_B6: Tensor, factor_B3: Tensor) -> Tensor:
    """The stain matrices (2, 3), row by row, of images that were restained so."""
    matrix_B23 = style_B6.view(-1, 2, 3) * factor_B3.to(style_B6.device)[:, None]
    unit: Tensor = matrix_B23 / matrix_B23.norm(dim=2, keepdim=True)
    return unit.view(-1, 6)


def jittered_grey(images_B3HW: Tensor, random: np.random.Generator) -> Tensor:
    """The images in grey, each of another strength and brightness of stain, as sources may have."""
    num = len(images_B3HW)
    strength = torch.as_tensor(random.uniform(*STRENGTH, num), dtype=torch.float32)
    light = torch.as_tensor(random.uniform(*LIGHT, num), dtype=torch.float32)
    shape = (-1, 1, 1, 1)
    intensity = _intensity(to_grey(images_B3HW))
    changed = intensity ** strength.to(images_B3HW.device).view(shape)
    return (changed * light.to(images_B3HW.device).view(shape)).clamp(0, 1) * 2 - 1


def _intensity(images_B3HW: Tensor) -> Tensor:
    """Relative intensity, from just above 0 to 1."""
    return ((images_B3HW + 1) / 2).clamp(OD_FLOOR, 1.0)
