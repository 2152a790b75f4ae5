"""A learned style on one slide through the generator itself."""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathology.stain.config import StainConfig
from pathology.stain.matrix import Pixels
from pathology.stain.networks import kernel_of
from pathology.stain.normalizer import Rendered
from pathology.stain.sharp_table import PALE_OD, apply_kernel, measured_white
from pathology.stain.table_normalizer import blend, least_stained
from pathology.stain.tensors import paint


class NetworkNormalizer:
    """Renders tiles through a network, told the slide's style if it is one that is told."""

    problem = ""

    def __init__(
        self,
        network: nn.Module,
        white_level: NDArray[np.float64],
        config: StainConfig,
        device: str,
        style_S: Tensor | None = None,
    ) -> None:
        self.network, self.white_level, self.style_S = network, white_level, style_S
        self.config, self.device = config, device
        self.kernel = kernel_of(network)
        self.margin_px = int(getattr(network, "margin_px", len(self.kernel) // 2))
        self.multiple_px = int(getattr(network, "multiple_px", 1))

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles in the model's style; glass keeps its color, tiles of nothing else all."""
        share_cores()
        network = self.network.to(self.device)
        tiles, is_passed = np.array(tiles_NHW3), np.ones(len(tiles_NHW3), np.bool_)
        painted = paint(network, tiles, self.multiple_px, self.device, self.style_S)
        for i, tile in enumerate(tiles):
            is_passed[i] = not self._keep_glass(tile, next(painted))
        return Rendered(tiles, is_passed)

    def _keep_glass(self, tile: Pixels, painted: Pixels) -> bool:
        """Paint the stain of a tile in place, or leave the tile and say False."""
        sharp = apply_kernel(tile, self.kernel)  # or glass and pale tissue would stand out
        mixed, is_stained = blend(
            lambda colors: painted, self.white_level, self.config.min_od, sharp, PALE_OD
        )
        if np.count_nonzero(is_stained) < least_stained(is_stained.size, self.config):
            return False
        tile[:] = mixed
        return True

    def measured(self) -> dict[str, Any]:
        """Columns of stain.csv on the slide's own staining."""
        return measured_white(self.white_level)


def share_cores() -> None:
    """Worker processes share the cores: one thread of torch in each."""
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
