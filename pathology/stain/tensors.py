"""Between 8-bit pixels and the tensors of the networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pathology.stain.matrix import Pixels

LEAST_PX = 16
CPU_PIXELS = 4 << 16  # four tiles of 256 px; of twice as many, features do not fit the cache
PIXELS = 16 << 16  # on other devices


def to_tensor(tiles_NHW3: Pixels, device: str | torch.device = "cpu") -> Tensor:
    """Images (N, 3, H, W) from -1 (black) to 1 (white), channels last in memory.

    Bytes go to the device, which makes floats of them.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(tiles_NHW3)).to(device)
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def from_tensor(images_N3HW: Tensor) -> Pixels:
    """8-bit pixels (N, H, W, 3); what lies beyond -1 or 1 is cut."""
    levels = images_N3HW.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


@torch.inference_mode()
def paint(
    network: nn.Module,
    tiles_NHW3: Pixels,
    multiple_px: int = 1,
    device: str = "cpu",
    style_S: Tensor | None = None,
) -> Iterator[Pixels]:
    """What a network makes of each tile (H, W, 3) of tiles of any size, a few at a time.

    multiple_px  what the network's images must be a multiple of; the rest is padded and cut off
    style_S      of the slide, for a network that is told it
    """
    height, width = tiles_NHW3.shape[1:3]
    least = max(LEAST_PX, 2 * multiple_px)  # what the networks can mirror at their borders
    bottom, right = (max(-edge % multiple_px, least - edge) for edge in (height, width))
    pixels = CPU_PIXELS if device == "cpu" else PIXELS
    at_once = max(1, pixels // max(1, height * width))
    for start in range(0, len(tiles_NHW3), at_once):
        images = to_tensor(tiles_NHW3[start : start + at_once], device)
        if bottom or right:
            images = functional.pad(images, [0, right, 0, bottom], mode="replicate")
        told = () if style_S is None else (style_S.to(device).expand(len(images), -1),)
        yield from from_tensor(network(images, *told))[:, :height, :width]
