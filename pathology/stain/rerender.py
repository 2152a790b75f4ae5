"""From one told style to another by the law of Beer and Lambert, on tensors that learn through it.

B batch, S the numbers of a style (see style_vector), H, W height and width. Images are float RGB
from -1 (black) to 1 (white).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pathology.stain.losses import OD_FLOOR
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
        source_B33, target_B33 = _basis(source_BS), _basis(target_BS, residual)
        map_B33 = torch.linalg.solve(source_B33, target_B33)  # of row vectors of optical density
        density = -((images_B3HW.float() + 1) / 2).clamp(OD_FLOOR, BRIGHTEST).log()
        mixed = torch.matmul(map_B33.mT, density.flatten(2)).view(images_B3HW.shape)
        made: Tensor = (-mixed).exp().clamp(0, BRIGHTEST) * 2 - 1
    return made


def restained(images_B3HW: Tensor, factor_B3: Tensor) -> Tensor:
    """Images with the optical density of each channel times a factor; white stays."""
    intensity = ((images_B3HW + 1) / 2).clamp(OD_FLOOR, 1.0)
    return intensity ** factor_B3[:, :, None, None] * 2 - 1


def restyled(style_BS: Tensor, factor_B3: Tensor) -> Tensor:
    """The styles of images that were restained so."""
    matrix_B23 = style_BS[:, :NUM_MATRIX].reshape(-1, 2, 3) * factor_B3[:, None]
    length_B2 = matrix_B23.norm(dim=2)
    unit = (matrix_B23 / length_B2[..., None]).flatten(1)
    return torch.cat([unit, style_BS[:, NUM_MATRIX:] * length_B2], dim=1)


def _basis(style_BS: Tensor, residual: Tensor | float = 1.0) -> Tensor:
    """Rows (B, 3, 3): the strongest hematoxylin, the strongest eosin, and what neither explains."""
    unit_B23 = style_BS[:, :NUM_MATRIX].reshape(-1, 2, 3)
    third = torch.linalg.cross(unit_B23[:, 0], unit_B23[:, 1])
    third = third / third.norm(dim=1, keepdim=True).clamp(min=1e-6) * residual
    return torch.cat([unit_B23 * style_BS[:, NUM_MATRIX:, None], third[:, None]], dim=1)
