"""Tiles as a camera on a microscope would see and save them: defocus, cast, shade, noise, JPEG.

The order and the laws are those of pathology.simulate.microscope, each tile being some part of a
frame. B batch, H, W height and width. Images are float RGB from 0 (black) to 1 (white). All of it
varies data: no gradient passes through JPEG.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pathology.core.config import StageConfig
from pathology.data.augment import blurred
from pathology.slides.jpeg import decode, encode

BLUR_RADIUS = 6  # pixels; three deviations of the strongest blur
LEAST_LIGHT = 1 / 255  # below which noise grows no weaker
SUBSAMPLING = "420"  # of color, as nearly every camera's


class ScopeConfig(StageConfig):
    """How much a camera may change a tile; every tile draws its own.

    defocus_px  greatest deviation of a Gaussian blur
    cast        deviation of the logarithm of the light of each channel
    shade       greatest loss of light in the corners of a frame
    noise       greatest deviation of the sensor's noise at full light
    jpeg        greatest loss of quality in a JPEG file, whose quality is 100 less what is lost; 0:
                no file is made
    """

    defocus_px: float = Field(default=2.0, ge=0, le=2)
    cast: float = Field(default=0.1, ge=0, le=1)
    shade: float = Field(default=0.35, ge=0, lt=1)
    noise: float = Field(default=0.02, ge=0, le=0.5)
    jpeg: int = Field(default=60, ge=0, le=95)


def seen_by_camera(
    images_B3HW: Tensor, random: np.random.Generator, config: ScopeConfig | None = None
) -> Tensor:
    """Images of the same shape, each seen in its own way."""
    config, num = config or ScopeConfig(), len(images_B3HW)
    sigma, cast = random.uniform(0, config.defocus_px, num), random.normal(0, config.cast, (num, 3))
    lost, seed = random.uniform(0, config.shade, num), int(random.integers(2**62))
    left, top = random.uniform(-1, 0.5, (2, num))  # a tile is a quarter of a frame's edge
    noise = random.uniform(0, config.noise, num)
    quality = 100 - random.integers(config.jpeg + 1, size=num)
    seen = blurred(images_B3HW, torch.from_numpy(sigma).to(images_B3HW), BLUR_RADIUS)
    seen = seen * torch.from_numpy(np.exp(cast)).to(seen)[:, :, None, None]
    corner_B2 = torch.from_numpy(np.stack([left, top], axis=1)).to(seen)
    seen = shaded(seen, torch.from_numpy(lost).to(seen), corner_B2, 0.5)
    seen = noisy(seen, torch.from_numpy(noise).to(seen), seed).clamp(0, 1)
    return compressed(seen, quality) if config.jpeg else seen


def shaded(images_B3HW: Tensor, lost_B: Tensor, corner_B2: Tensor, edge: float) -> Tensor:
    """Images from somewhere in a frame whose light falls off to its corners.

    lost_B     loss of light in the frame's corners, from 0 to 1
    corner_B2  left and top of each image in a frame that reaches from -1 to 1
    edge       of the images in that frame; 2 is the whole
    """
    height, width = images_B3HW.shape[2:]
    along_W, along_H = (torch.linspace(0, edge, n).to(images_B3HW) for n in (width, height))
    x_BW, y_BH = corner_B2[:, :1] + along_W, corner_B2[:, 1:] + along_H
    radius2_BHW = (x_BW[:, None, :] ** 2 + y_BH[:, :, None] ** 2) / 2
    light_BHW = 1 - lost_B[:, None, None] * radius2_BHW**1.5
    return images_B3HW * light_BHW[:, None]


def noisy(images_B3HW: Tensor, noise_B: Tensor, seed: int) -> Tensor:
    """Images with noise whose deviation grows with the root of the light; see ScopeConfig.noise."""
    generator = torch.Generator(images_B3HW.device).manual_seed(seed)
    drawn = torch.empty_like(images_B3HW, memory_format=torch.contiguous_format)
    drawn.normal_(generator=generator)
    deviation = noise_B[:, None, None, None] * images_B3HW.clamp(min=LEAST_LIGHT).sqrt()
    return images_B3HW + drawn * deviation


@torch.no_grad()
def compressed(images_B3HW: Tensor, quality_B: NDArray[np.int64]) -> Tensor:
    """Images as JPEG files of a quality each, from 1 to 100, give them back, in 8 bits.

    Made on the CPU, whatever device the images are on. There is no gradient.
    """
    scaled_BHW3 = images_B3HW.permute(0, 2, 3, 1).mul(255).round_().to(torch.uint8)
    pixels_BHW3 = scaled_BHW3.cpu().contiguous().numpy()
    size = images_B3HW.shape[3], images_B3HW.shape[2]
    for pixels, quality in zip(pixels_BHW3, quality_B.tolist(), strict=True):
        decode(encode(pixels, quality, SUBSAMPLING), size, buffer=pixels)
    seen = torch.from_numpy(pixels_BHW3).to(images_B3HW.device).permute(0, 3, 1, 2)
    return seen.to(images_B3HW.dtype).div_(255).contiguous()
