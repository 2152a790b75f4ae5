"""A learned style on one slide as one kernel and one table of colors. Needs no torch."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.stain.color_table import EVEN
from pathology.stain.config import StainConfig
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import Rendered, middle_of
from pathology.stain.table_normalizer import TableNormalizer

PALE_OD = 0.06  # learned styles change even the palest stain; the classical ones leave it alone
Grid = NDArray[np.float32]  # (P, P, P, 3) by red, green, blue; 8-bit values that may pass 0 or 255


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
        self.table = TableNormalizer(
            GridPainter(grid), white_level, config, measured_white(white_level), PALE_OD
        )

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles in the model's style; tiles of nothing but glass unchanged."""
        return self.render_middle(tiles_NHW3, 0)

    def render_middle(self, windows_NHW3: Pixels, around_px: int) -> Rendered:
        """The tiles amid windows that show around_px more on each side, which is looked at only."""
        tiles = middle_of(windows_NHW3, around_px)
        rendered = np.empty(tiles.shape, np.uint8)
        is_passed = np.zeros(len(rendered), np.bool_)
        for i, window in enumerate(windows_NHW3):
            rendered[i] = middle_of(apply_kernel(window, self.kernel)[None], around_px)[0]
            is_passed[i] = not self.table.render_tile(rendered[i])
            if is_passed[i]:
                rendered[i] = tiles[i]
        return Rendered(rendered, is_passed)

    def measured(self) -> dict[str, Any]:
        """Columns of stain.csv on the slide's own staining."""
        return self.table.measured()


class GridPainter:
    """New colors of even ones by a grid of some colors, linear in between."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def __getstate__(self) -> dict[str, object]:
        return {"grid": self.grid}

    @cached_property
    def table(self) -> Pixels:
        """(128, 128, 128, 3), made at first use."""
        return drawn_out(self.grid, EVEN)

    def __call__(self, colors: Pixels) -> Pixels:
        """New colors of colors (H, W, 3) whose levels are even."""
        red, green, blue = (colors[..., channel] >> 1 for channel in range(3))
        return np.asarray(self.table[red, green, blue], np.uint8)


def apply_kernel(pixels: Pixels, kernel: NDArray[np.float32]) -> Pixels:
    """Pixels (H, W, 3) blurred or sharpened by a kernel of one direction, applied in both."""
    if len(kernel) == 1:
        return pixels
    return np.asarray(
        cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101), np.uint8
    )


def drawn_out(grid: Grid, levels: Pixels) -> Pixels:
    """The grid at all combinations of L levels (L, L, L, 3), linear in between its points."""
    weights = _weights(len(grid), levels)
    greens = np.einsum("gp,rpbc->rgbc", weights, grid)
    reds = np.tensordot(weights, greens, 1)
    table = np.empty((len(levels),) * 3 + (3,), np.uint8)
    for plane, coarse_GPC in zip(table, reds, strict=True):
        plane[:] = np.clip(np.rint(np.matmul(weights, coarse_GPC)), 0, 255)
    return table


def _weights(points: int, levels: Pixels) -> NDArray[np.float32]:
    """How much each grid point counts for each level, (levels, points)."""
    place = levels * ((points - 1) / 255)
    apart = np.abs(place[:, None] - np.arange(points)[None])
    return np.asarray(np.maximum(0, 1 - apart), np.float32)


def measured_white(white_level: NDArray[np.float64]) -> dict[str, Any]:
    """The column of stain.csv on a slide's glass."""
    return {"white_level": " ".join(f"{level:.0f}" for level in white_level)}
