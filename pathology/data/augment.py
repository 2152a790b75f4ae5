"""Tiles varied as other laboratories, scanners and cuts would have them. All on the tiles' device.

B batch, H, W height and width. Images are float RGB from 0 (black) to 1 (white).
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from pathology.core.config import StageConfig

# Hematoxylin and eosin in optical density (Ruifrok and Johnston, Anal Quant Cytol Histol 2001), and
# what neither explains, at right angles
STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.0, 0.0, 0.0]])
OD_FLOOR = 1 / 255
BLUR_RADIUS = 3  # pixels; three deviations of the usual strongest blur


class AugmentConfig(StageConfig):
    """What tiles are varied by.

    stain     standard deviation of the logarithm of each stain's strength
    color     of that of each channel's optical density
    light     greatest loss of light in a channel
    blur_px   greatest deviation of a Gaussian blur
    scale     greatest relative change of size
    is_turned turned by quarters and mirrored
    """

    stain: float = Field(default=0.25, ge=0, le=1)
    color: float = Field(default=0.1, ge=0, le=1)
    light: float = Field(default=0.1, ge=0, le=0.5)
    blur_px: float = Field(default=1.0, ge=0, le=2)
    scale: float = Field(default=0.15, ge=0, le=0.5)
    is_turned: bool = True


class Variation(NamedTuple):
    """How each of B images is varied; None: not in this way.

    radius_px  beyond which blurs are cut off
    """

    way_B: NDArray[np.int64] | None
    factor_B: Tensor | None
    sigma_B: Tensor | None
    stain_B3: Tensor | None
    color_B3: Tensor | None
    light_B3: Tensor | None
    radius_px: int = BLUR_RADIUS

    def of(self, some: slice) -> Variation:
        """That of some of the images."""
        parts = (None if one is None else one[some] for one in self[:-1])
        return Variation(*parts)._replace(radius_px=self.radius_px)  # type: ignore[arg-type]


def augment(images_B3HW: Tensor, random: np.random.Generator, config: AugmentConfig) -> Tensor:
    """Images of the same shape, each varied in its own way.

    On a CPU one after the other: what is made of an image on the way stays in its cache.
    """
    variation = draw(len(images_B3HW), random, config)
    if images_B3HW.device.type != "cpu":
        return varied(images_B3HW, variation)
    made = torch.empty_like(images_B3HW)
    for i in range(len(images_B3HW)):
        one = slice(i, i + 1)
        made[one] = varied(images_B3HW[one], variation.of(one))
    return made


def draw(num: int, random: np.random.Generator, config: AugmentConfig) -> Variation:
    """How so many images are varied."""
    way = factor = sigma = stain = color = light = None
    if config.is_turned:
        way = random.integers(8, size=num)
    if config.scale:
        factor = torch.from_numpy(1 + random.uniform(-config.scale, config.scale, num))
    if config.blur_px:
        sharp = random.uniform(0, config.blur_px, num), random.random(num) < 0.5
        sigma = torch.from_numpy(sharp[0] * sharp[1])
    if config.stain or config.color or config.light:
        stain = torch.from_numpy(np.exp(random.normal(0, config.stain, (num, 3))))
        color = torch.from_numpy(np.exp(random.normal(0, config.color, (num, 3))))
        light = torch.from_numpy(1 - random.uniform(0, config.light, (num, 3)))
    radius_px = max(BLUR_RADIUS, ceil(3 * config.blur_px))
    return Variation(way, factor, sigma, stain, color, light, radius_px)


def varied(images_B3HW: Tensor, variation: Variation) -> Tensor:
    """Images varied as drawn."""
    way_B, factor_B, sigma_B, stain_B3, color_B3, light_B3, radius_px = variation
    if way_B is not None:
        images_B3HW = turned(images_B3HW, way_B)
    if factor_B is not None:
        images_B3HW = scaled(images_B3HW, factor_B.to(images_B3HW))
    if sigma_B is not None and bool((sigma_B > 0).any()):
        images_B3HW = blurred(images_B3HW, sigma_B.to(images_B3HW), radius_px)
    if stain_B3 is not None and color_B3 is not None and light_B3 is not None:
        images_B3HW = stained(images_B3HW, stain_B3, color_B3, light_B3)
    return images_B3HW


def turned(images_B3HW: Tensor, way_B: NDArray[np.int64]) -> Tensor:
    """Square images by one of eight ways each: quarter turns, and from 4 on mirrored, too.

    Those of one way at once.
    """
    made = torch.empty_like(images_B3HW)
    for way in np.unique(way_B).tolist():
        some = torch.from_numpy(np.flatnonzero(way_B == way)).to(images_B3HW.device)
        seen = torch.rot90(images_B3HW[some], way % 4, (2, 3))
        made[some] = seen.flip(3) if way >= 4 else seen
    return made


def scaled(images_B3HW: Tensor, factor_B: Tensor) -> Tensor:
    """Images enlarged about their middle by a factor each; what is missing is mirrored."""
    zoom_B23 = torch.zeros(len(factor_B), 2, 3, device=images_B3HW.device, dtype=images_B3HW.dtype)
    zoom_B23[:, 0, 0] = zoom_B23[:, 1, 1] = 1 / factor_B
    grid = functional.affine_grid(zoom_B23, list(images_B3HW.shape), align_corners=False)
    return functional.grid_sample(
        images_B3HW, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def blurred(images_B3HW: Tensor, sigma_B: Tensor, radius_px: int = BLUR_RADIUS) -> Tensor:
    """Images blurred by a Gaussian of a deviation each, in pixels; 0 leaves an image alone.

    radius_px  beyond which the Gaussian is cut off
    """
    place = torch.arange(radius_px + 1).to(images_B3HW)
    kernel_BK = torch.exp(-0.5 * (place / sigma_B.clamp(min=1e-3)[:, None]) ** 2)
    kernel_BK = kernel_BK / (2 * kernel_BK.sum(dim=1, keepdim=True) - 1)
    made = images_B3HW
    for axis in (2, 3):  # sums of shifted images: convolutions of so few taps are slower
        size, around = made.shape[axis], [0] * 4
        around[2 * (3 - axis) : 2 * (3 - axis) + 2] = [radius_px] * 2
        padded = functional.pad(made, around, mode="reflect")
        made = padded.narrow(axis, radius_px, size) * kernel_BK[:, 0, None, None, None]
        for k in range(1, radius_px + 1):
            both = padded.narrow(axis, radius_px - k, size) + padded.narrow(
                axis, radius_px + k, size
            )
            made.addcmul_(both, kernel_BK[:, k, None, None, None])
    return made


def stained(images_B3HW: Tensor, stain_B3: Tensor, color_B3: Tensor, light_B3: Tensor) -> Tensor:
    """Images whose stains, and then channels, are stronger or weaker by factors.

    stain_B3  of hematoxylin, eosin, and what neither explains
    color_B3  of the optical density of red, green and blue
    light_B3  of the light that falls through
    By the law of Beer and Lambert one 3x3 map of optical density an image.
    """
    back, basis = (x.to(images_B3HW) for x in _basis())
    stain_B3, color_B3, light_B3 = (x.to(images_B3HW) for x in (stain_B3, color_B3, light_B3))
    map_B33 = back @ (stain_B3[:, :, None] * basis) * color_B3[:, None, :]
    less = images_B3HW.clamp(OD_FLOOR, 1.0).log_()  # optical density, negative
    mixed = torch.matmul(map_B33.mT, less.flatten(2)).view(images_B3HW.shape)
    return mixed.exp_().mul_(light_B3[:, :, None, None]).clamp_(0, 1)


def _basis() -> tuple[Tensor, Tensor]:
    """The inverse of, and the stains and their residual as rows of unit length (3, 3).

    On the CPU: CUDA's first inverse must not be asked for by several threads at once.
    """
    first = functional.normalize(STAINS[:2], dim=1)
    third = functional.normalize(torch.linalg.cross(first[0], first[1]), dim=0)
    basis = torch.cat([first, third[None]])
    return torch.linalg.inv(basis), basis
