"""Renders a slide's tiles by one table of all colors, whatever the method behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.stain.color_table import Table, build_table, even, look_up, with_last_bits
from pathology.stain.config import StainConfig
from pathology.stain.matrix import Pixels, optical_density
from pathology.stain.normalizer import Rendered
from pathology.stain.tissue import BLACK_OD, GLASS_SHARE

Painter = Callable[[Pixels], Pixels]  # colors (H, W, 3) to new ones, of glass as well
DIRECT_PIXELS = 1 << 19  # a quarter of the pixels that a table costs
_BUILDING = threading.Lock()  # threads that share a normalizer build its table once


class TableNormalizer:
    """Renders the tiles of one slide by a function of colors, looked up in a table.

    The table is made when so many pixels have come that it pays, and left out when pickled. Until
    then the function itself is asked, with the same outcome.

    paint        new colors of stain; glass and its neighborhood are blended with the old ones
    white_level  (3,) intensity of the slide's empty glass
    measured     columns of stain.csv on the slide's own staining
    full_od      optical density from which on colors are all new; config.min_od where not given
    """

    margin_px = 0
    problem = ""

    def __init__(
        self,
        paint: Painter,
        white_level: NDArray[np.float64],
        config: StainConfig,
        measured: Mapping[str, Any],
        full_od: float | None = None,
    ) -> None:
        self.paint, self.white_level, self.config = paint, white_level, config
        self.full_od = full_od
        self._measured = dict(measured)
        self._table: Table | None = None
        self._num_pixels = 0

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_table": None, "_num_pixels": 0}

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles in the model's style; glass, and tiles of nothing else, unchanged."""
        rendered = np.array(tiles_NHW3, np.uint8, order="C")
        is_passed = np.ones(len(rendered), np.bool_)
        if rendered.size:
            for i, tile in enumerate(rendered):
                is_passed[i] = not self.render_tile(tile)
        return Rendered(rendered, is_passed)

    def render_tile(self, tile: Pixels) -> bool:
        """Re-render a contiguous tile (H, W, 3) in place, or leave it and say False."""
        pixels, num_stained = self._new_colors(tile)
        if num_stained < least_stained(tile.shape[0] * tile.shape[1], self.config):
            return False
        tile[:] = pixels
        return True

    def measured(self) -> dict[str, Any]:
        """Columns of stain.csv on the slide's own staining."""
        return dict(self._measured)

    def _new_colors(self, tile: Pixels) -> tuple[Pixels, int]:
        """New colors of a tile, and how many of its pixels are stained; by table once it pays."""
        table = self._table_if_worth(tile.shape[0] * tile.shape[1])
        if table is not None:
            return look_up(table, tile)
        mixed, is_stained = self._blended(even(tile))
        return with_last_bits(mixed, tile), int(np.count_nonzero(is_stained))

    def _table_if_worth(self, num_pixels: int) -> Table | None:
        with _BUILDING:
            self._num_pixels += num_pixels
            if self._table is None and self._num_pixels > DIRECT_PIXELS:
                self._table = build_table(self._blended)
            return self._table

    def _blended(self, colors: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
        return blend(self.paint, self.white_level, self.config.min_od, colors, self.full_od)


def least_stained(num_pixels: int, config: StainConfig) -> float:
    """How many stained pixels a tile must have so as not to pass through."""
    return max(1.0, config.min_stained_fraction * num_pixels)


def blend(
    paint: Painter,
    white_level: NDArray[np.float64],
    min_od: float,
    colors: Pixels,
    full_od: float | None = None,
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Colors (H, W, 3) painted where there is stain, and which of them (H, W) carry it.

    From glass, which stays, to what has full_od or more, which changes, without an edge in
    between. full_od is min_od where it is not given.
    """
    full_od = full_od or min_od
    od = optical_density(colors, white_level)
    depth = cv2.transform(od, np.full((1, 3), 1 / 3, np.float32))
    low = GLASS_SHARE * full_od
    weight = np.clip((depth - low) / (full_od - low), 0.0, 1.0)
    mixed = cv2.blendLinear(paint(colors), colors, weight, 1.0 - weight)
    return np.asarray(mixed, np.uint8), (depth > min_od) & (depth < BLACK_OD)
