"""From one told style to another by the law of Beer and Lambert, on tensors that learn through it.

B batch, S the numbers of a style (see style_vector), H, W height and width. Images are float RGB
from -1 (black) to 1 (white).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pathology.stain.losses import OD_FLOOR, intensity
from pathology.stain.matrix import rerender_matrix
from pathology.stain.style_vector import NUM_MATRIX

BRIGHTEST = 1.2  # what a map of optical density may make of white


def rerendered(
    images_B3HW: Tensor, source_BS: Tensor, target_BS: Tensor, residual: Tensor | float = 1.0
) -> Tensor:
    """Images of the source styles as the target styles would show the same tissue.

    residual  factor on what neither stain explains

    Amounts of stain are found as in Macenko et al., ISBI 2009, and scaled so that the strongest of
    one style become those of the other. Equal styles give the images themselves.
    """
    with torch.autocast(images_B3HW.device.type, enabled=False):  # half floats would show as bands
        source_B23, target_B23 = _matrix(source_BS), _matrix(target_BS)
        gain_B2 = target_BS[:, NUM_MATRIX:] / source_BS[:, NUM_MATRIX:]
        map_B33 = rerender_matrix(source_B23, target_B23, gain_B2, residual)  # of row vectors
        density = -((images_B3HW.float() + 1) / 2).clamp(OD_FLOOR, BRIGHTEST).log()
        mixed = torch.matmul(map_B33.mT, density.flatten(2)).view(images_B3HW.shape)
        made: Tensor = (-mixed).exp().clamp(0, BRIGHTEST) * 2 - 1
    return made


def at_home(style_BS: Tensor, home_S: Tensor, away_S: Tensor, kept: Tensor) -> Tensor:
    """The style (B, S) that each slide's tissue would have at home: see Home."""
    deviation_B2 = style_BS[:, NUM_MATRIX:] / away_S[NUM_MATRIX:]
    strength_B2 = home_S[NUM_MATRIX:] * deviation_B2**kept
    return torch.cat([home_S[:NUM_MATRIX].expand(len(style_BS), -1), strength_B2], dim=1)


def restained(images_B3HW: Tensor, factor_B3: Tensor) -> Tensor:
    """Images with the optical density of each channel times a factor; white stays."""
    return intensity(images_B3HW) ** factor_B3[:, :, None, None] * 2 - 1


def restyled(style_BS: Tensor, factor_B3: Tensor) -> Tensor:
    """The styles of images that were restained so."""
    matrix_B23 = _matrix(style_BS) * factor_B3[:, None]
    length_B2 = matrix_B23.norm(dim=2)
    unit = (matrix_B23 / length_B2[..., None]).flatten(1)
    return torch.cat([unit, style_BS[:, NUM_MATRIX:] * length_B2], dim=1)


def _matrix(style_BS: Tensor) -> Tensor:
    """The stain matrices (B, 2, 3) of styles."""
    return style_BS[:, :NUM_MATRIX].reshape(-1, 2, 3)
