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
from pathology.stain.normalizer import Rendered, middle_of
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
        return self.render_middle(tiles_NHW3, 0)

    def render_middle(self, windows_NHW3: Pixels, around_px: int) -> Rendered:
        """The tiles amid windows that show around_px more on each side, which is looked at only."""
        share_cores()
        network = self.network.to(self.device)
        tiles = np.array(middle_of(windows_NHW3, around_px))
        is_passed = np.ones(len(tiles), np.bool_)
        painted = paint(network, windows_NHW3, self.multiple_px, self.device, self.style_S)
        for i, (window, made) in enumerate(zip(windows_NHW3, painted, strict=True)):
            sharp = apply_kernel(window, self.kernel)  # or glass and pale tissue would stand out
            middles = (middle_of(pixels[None], around_px)[0] for pixels in (sharp, made))
            is_passed[i] = not self._keep_glass(tiles[i], *middles)
        return Rendered(tiles, is_passed)

    def _keep_glass(self, tile: Pixels, sharp: Pixels, painted: Pixels) -> bool:
        """Paint the stain of a tile in place, or leave the tile and say False."""
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
