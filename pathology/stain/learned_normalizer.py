"""A learned style on one slide: through the network itself, or through a table of its colors."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pathology.stain.config import StainConfig
from pathology.stain.matrix import Pixels
from pathology.stain.networks import kernel_of
from pathology.stain.normalizer import Rendered
from pathology.stain.slide_table import Grid, all_colors, apply_kernel
from pathology.stain.table_normalizer import TableNormalizer, blend, least_stained
from pathology.stain.tensors import from_tensor, to_tensor

TILES_AT_ONCE = 16  # from here on torch has a fast way for 1x1 convolutions on one thread


class SharpTableNormalizer:
    """Blurs or sharpens tiles as the student does, then looks their colors up in one table."""

    problem = ""

    def __init__(
        self,
        grid: Grid,
        kernel: NDArray[np.float32],
        white_level: NDArray[np.float64],
        config: StainConfig,
    ) -> None:
        self.kernel = kernel
        self.margin_px = len(kernel) // 2
        self.table = TableNormalizer(GridPainter(grid), white_level, config, _columns(white_level))

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles in the model's style; tiles of nothing but glass unchanged."""
        sharp = np.empty(tiles_NHW3.shape, np.uint8)
        for place, tile in zip(sharp, tiles_NHW3, strict=True):
            place[:] = apply_kernel(tile, self.kernel)
        tiles, is_passed = self.table.render(sharp)
        tiles[is_passed] = tiles_NHW3[is_passed]
        return Rendered(tiles, is_passed)

    def measured(self) -> dict[str, Any]:
        """Columns of stain.csv on the slide's own staining."""
        return self.table.measured()


class GridPainter:
    """New colors by a grid of some, linear in between; the whole table is made at first use."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def __getstate__(self) -> dict[str, object]:
        return {"grid": self.grid}

    @cached_property
    def table(self) -> Pixels:
        """(256, 256, 256, 3)."""
        return all_colors(self.grid)

    def __call__(self, colors: Pixels) -> Pixels:
        """New colors of colors (H, W, 3)."""
        red, green, blue = (colors[..., channel] for channel in range(3))
        return self.table[red, green, blue]


class NetworkNormalizer:
    """Renders tiles through a network: the generator or its student."""

    problem = ""

    def __init__(
        self, network: nn.Module, white_level: NDArray[np.float64], config: StainConfig, device: str
    ) -> None:
        self.network, self.white_level = network, white_level
        self.config, self.device = config, device
        self.kernel = kernel_of(network)
        self.margin_px = int(getattr(network, "margin_px", len(self.kernel) // 2))
        self.multiple_px = int(getattr(network, "multiple_px", 1))

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles in the model's style; glass keeps its color, tiles of nothing else all."""
        network = self.network.to(self.device)
        tiles, is_passed = np.array(tiles_NHW3), np.ones(len(tiles_NHW3), np.bool_)
        for start in range(0, len(tiles), TILES_AT_ONCE):
            block = tiles[start : start + TILES_AT_ONCE]
            painted = paint(network, block, self.multiple_px, self.device)
            for i, tile in enumerate(block):
                is_passed[start + i] = not self._keep_glass(tile, painted[i])
        return Rendered(tiles, is_passed)

    def _keep_glass(self, tile: Pixels, painted: Pixels) -> bool:
        """Paint the stain of a tile in place, or leave the tile and say False."""
        sharp = apply_kernel(tile, self.kernel)  # or glass and pale tissue would stand out
        mixed, is_stained = blend(
            lambda colors: painted, self.white_level, self.config.min_od, sharp
        )
        if np.count_nonzero(is_stained) < least_stained(is_stained.size, self.config):
            return False
        tile[:] = mixed
        return True

    def measured(self) -> dict[str, Any]:
        """Columns of stain.csv on the slide's own staining."""
        return _columns(self.white_level)


@torch.inference_mode()
def paint(network: nn.Module, tiles_NHW3: Pixels, multiple_px: int, device: str) -> Pixels:
    """What a network makes of tiles (N, H, W, 3) of any size; it is given whole multiples."""
    height, width = tiles_NHW3.shape[1:3]
    bottom, right = -height % multiple_px, -width % multiple_px
    images = to_tensor(tiles_NHW3).to(device)
    if bottom or right:
        images = functional.pad(images, [0, right, 0, bottom], mode="replicate")
    return from_tensor(network(images))[:, :height, :width]


def _columns(white_level: NDArray[np.float64]) -> dict[str, Any]:
    return {"white_level": " ".join(f"{level:.0f}" for level in white_level)}
