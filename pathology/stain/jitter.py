"""Source images stained and scanned otherwise than they were, so that training sees more styles.

B batch, H, W height and width. Images are float RGB from -1 (black) to 1 (white).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pathology.stain.losses import intensity
from pathology.stain.networks import to_grey

STRENGTH, LIGHT = (0.7, 1.4), (0.92, 1.05)  # factors of optical density, and of intensity


def channel_factors(random: np.random.Generator, num: int, jitter: float) -> Tensor:
    """Factors (num, 3) of optical density, log-normal about 1 with that standard deviation."""
    return torch.as_tensor(np.exp(jitter * random.standard_normal((num, 3))), dtype=torch.float32)


def jittered_grey(images_B3HW: Tensor, random: np.random.Generator) -> Tensor:
    """The images in grey, each of another strength and brightness of stain, as sources may have."""
    num = len(images_B3HW)
    strength = torch.as_tensor(random.uniform(*STRENGTH, num), dtype=torch.float32)
    light = torch.as_tensor(random.uniform(*LIGHT, num), dtype=torch.float32)
    shape = (-1, 1, 1, 1)
    changed = intensity(to_grey(images_B3HW)) ** strength.to(images_B3HW.device).view(shape)
    return (changed * light.to(images_B3HW.device).view(shape)).clamp(0, 1) * 2 - 1
