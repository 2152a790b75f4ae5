"""One level of a tiled TIFF, as its directory describes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.slides.plan import Pair
from pathology.slides.tiff_checks import JPEG, RGB, require_tiles


@dataclass(frozen=True)
class Page:
    """One level of a file: where its stored tiles lie and how they are coded.

    size, tile  (width, height) of the level and of a stored tile, in pixels
    grid        (columns, rows) of stored tiles
    is_rgb      JPEG tiles hold RGB, not YCbCr; tables are what they share
    decoder     of tiles that are not JPEG
    """

    size: Pair
    tile: Pair
    grid: Pair
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    is_jpeg: bool
    is_rgb: bool
    tables: bytes | None
    decoder: Any

    @classmethod
    def of(cls, page: Any, is_sparse: bool) -> Page:
        """The facts of one of tifffile's pages. Raises ValueError where they cannot be true."""
        size, tile = (page.imagewidth, page.imagelength), (page.tilewidth, page.tilelength)
        grid = (-(-size[0] // tile[0]), -(-size[1] // tile[1]))
        offsets = np.asarray(page.dataoffsets, np.int64)
        counts = np.asarray(page.databytecounts, np.int64)
        require_tiles(tile, grid[0] * grid[1], offsets, counts, is_sparse=is_sparse)
        is_jpeg = page.compression == JPEG
        decoder = None if is_jpeg else page.decode
        is_rgb = page.photometric == RGB
        return cls(size, tile, grid, offsets, counts, is_jpeg, is_rgb, page.jpegtables, decoder)

    @property
    def max_reduction(self) -> int:
        """The largest power of two that divides a tile's edges."""
        edges = self.tile[0] | self.tile[1]
        return edges & -edges


def as_rgb(decoded: NDArray[Any] | None) -> NDArray[np.uint8]:
    """A decoded tile (H, W, 3) without further samples. Raises ValueError for an empty one."""
    if decoded is None:
        raise ValueError("empty tile")
    pixels = decoded.reshape(decoded.shape[-3:])
    return np.ascontiguousarray(pixels[..., :3], np.uint8)


def places_in(
    x0: int, y0: int, width: int, height: int, tile_w: int, tile_h: int, grid: Pair
) -> Iterator[tuple[int, int]]:
    """Columns and rows of the stored tiles that a rectangle touches, inside the grid."""
    for row in range(max(0, y0 // tile_h), min(grid[1], -(-(y0 + height) // tile_h))):
        for column in range(max(0, x0 // tile_w), min(grid[0], -(-(x0 + width) // tile_w))):
            yield column, row
