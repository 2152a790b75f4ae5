"""The terms of the CycleGAN's loss, each a function of tensors. B batch, H, W height and width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

OD_FLOOR = 1 / 255  # of the relative intensity, so that black has a finite optical density


def real_loss(*scores: Tensor) -> Tensor:
    """Mean squared distance of discriminators' scores to 1: Mao et al., ICCV 2017, eq. 2.

    scores   raw, any shape, of one or several discriminators that count alike
    returns  a scalar, 0 where everything passes for real
    """
    return torch.stack([((part - 1) ** 2).mean() for part in scores]).mean()


def fake_loss(*scores: Tensor) -> Tensor:
    """Mean squared distance of discriminators' scores to 0: Mao et al., ICCV 2017, eq. 2."""
    return torch.stack([(part**2).mean() for part in scores]).mean()


def discriminator_loss(real_scores: Sequence[Tensor], fake_scores: Sequence[Tensor]) -> Tensor:
    """Half the sum of both distances, as in CycleGAN: Zhu et al., ICCV 2017, section 4."""
    return 0.5 * (real_loss(*real_scores) + fake_loss(*fake_scores))


def l1_loss(images_B3HW: Tensor, others_B3HW: Tensor, pool_px: int = 1) -> Tensor:
    """Mean absolute difference: the cycle and identity terms, Zhu et al., ICCV 2017, eq. 2.

    pool_px  edge of the squares over which images are averaged before they are compared; 1 is the
             usual term. A round trip over a less sharp scanner cannot bring back finer detail.
    """
    apart = images_B3HW - others_B3HW
    if pool_px > 1:
        apart = functional.avg_pool2d(apart, pool_px)
    return apart.abs().mean()


def intensity(images_B3HW: Tensor) -> Tensor:
    """Relative intensity, from just above 0 to 1, of images from -1 to 1."""
    return ((images_B3HW + 1) / 2).clamp(OD_FLOOR, 1.0)


def od_luminance(images_B3HW: Tensor) -> Tensor:
    """Mean optical density (B, H, W) of images from -1 (black) to 1 (empty glass)."""
    return -intensity(images_B3HW).log().mean(dim=1)


def structure_loss(images_B3HW: Tensor, others_B3HW: Tensor) -> Tensor:
    """How far the gradients of optical density are from pointing and varying alike.

    returns  a scalar from 0 (the same structure, at any contrast) to 2 (the inverse)

    One minus the correlation of the horizontal and vertical steps of each image with the other's,
    which neither a change of color nor of stain strength alters much.
    """
    steps_BN, others_BN = _steps(images_B3HW), _steps(others_B3HW)
    dot = (steps_BN * others_BN).sum(dim=1)
    length = (steps_BN.square().sum(dim=1) * others_BN.square().sum(dim=1) + 1e-12).sqrt()
    return (1 - dot / length).mean()


def _steps(images_B3HW: Tensor) -> Tensor:
    """Steps between neighbors (B, N), horizontal ones first."""
    density = od_luminance(images_B3HW)
    right, down = density.diff(dim=2).flatten(1), density.diff(dim=1).flatten(1)
    return torch.cat([right, down], dim=1)
