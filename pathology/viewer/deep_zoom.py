"""Deep Zoom tiles of any slide: the geometry of the format, and pixels from the slide's reader.

The numbers are those of openslide's DeepZoomGenerator with limit_bounds=False and no overlap, so
that one Deep Zoom pixel of the finest dz_level is one level-0 pixel. The pixels come from our
readers, which scale while they decode, and open what OpenSlide does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pathology.slides.plan import Pair, Plane, ReadPlan, planes
from pathology.slides.reader import Pixels, SlideReader, scale_to

TILE_PX = 256
SAME_STEP = 1e-3  # relative; levels of 4.0001 are taken for 4


@dataclass(frozen=True)
class DeepZoom:
    """The pyramid of one slide. dz_level 0 is one pixel, the last one is level 0 of the file.

    l0_size  (width, height) of the slide
    """

    l0_size: Pair
    tile_px: int = TILE_PX

    @property
    def max_dz_level(self) -> int:
        """The finest dz_level.

        >>> DeepZoom((1000, 800)).max_dz_level
        10
        """
        return (max(self.l0_size) - 1).bit_length()

    @property
    def min_dz_level(self) -> int:
        """The finest dz_level that is a single tile; coarser ones need not be shown.

        >>> DeepZoom((1000, 800)).min_dz_level
        8
        """
        return min(self.max_dz_level, (self.tile_px - 1).bit_length())

    def downsample(self, dz_level: int) -> int:
        """Level-0 pixels in a pixel of a dz_level."""
        return 1 << (self.max_dz_level - dz_level)

    def size(self, dz_level: int) -> Pair:
        """(width, height) of a whole dz_level.

        >>> DeepZoom((1000, 801)).size(9)
        (500, 401)
        """
        step = self.downsample(dz_level)
        return -(-self.l0_size[0] // step), -(-self.l0_size[1] // step)

    def grid(self, dz_level: int) -> Pair:
        """Number of tiles (columns, rows) of a dz_level."""
        width, height = self.size(dz_level)
        return -(-width // self.tile_px), -(-height // self.tile_px)

    def has(self, dz_level: int, column: int, row: int) -> bool:
        """Whether there is such a tile."""
        if not self.min_dz_level <= dz_level <= self.max_dz_level:
            return False
        columns, rows = self.grid(dz_level)
        return 0 <= column < columns and 0 <= row < rows

    def tile_size(self, dz_level: int, column: int, row: int) -> Pair:
        """(width, height) of a tile; those at the right and at the bottom may be smaller."""
        width, height = self.size(dz_level)
        edge = self.tile_px
        return min(edge, width - column * edge), min(edge, height - row * edge)


def read_dz_tile(
    slide: SlideReader, zoom: DeepZoom, dz_level: int, column: int, row: int
) -> Pixels:
    """Pixels (height, width, 3) of one tile, which must exist. Raises SlideError."""
    width, height = zoom.tile_size(dz_level, column, row)
    x, y = column * zoom.tile_px, row * zoom.tile_px
    wanted = zoom.downsample(dz_level)
    plane = plane_for(planes(slide.levels, slide.max_reduction), wanted)
    zoom_x, zoom_y = (_ratio(wanted, step) for step in plane.step)
    # whole plane pixels on both sides, rounded alike for neighbors: no gap and no overlap
    left, right = round(x * zoom_x), max(round(x * zoom_x) + 1, round((x + width) * zoom_x))
    top, bottom = round(y * zoom_y), max(round(y * zoom_y) + 1, round((y + height) * zoom_y))
    right, bottom = _inside(right, left, plane.size[0]), _inside(bottom, top, plane.size[1])
    pixels = slide.read_plane(plane, (left, top), (right - left, bottom - top))
    return scale_to(pixels, (width, height))


def stored_dz_tile(
    slide: SlideReader, zoom: DeepZoom, dz_level: int, column: int, row: int
) -> bytes | None:
    """The file's own JPEG stream of a tile, where a stored tile is exactly this one, else None."""
    edge = zoom.tile_px
    if zoom.tile_size(dz_level, column, row) != (edge, edge):
        return None
    wanted = zoom.downsample(dz_level)
    plane = plane_for(planes(slide.levels, 1), wanted)
    if any(_ratio(wanted, step) != 1 for step in plane.step):
        return None
    square, step = (edge, edge), (float(wanted), float(wanted))
    plan = ReadPlan(plane, square, square, edge, achieved_mpp=step, slide_mpp=(1.0, 1.0))
    corner = np.array([[column, row]], np.int64) * edge
    streams = slide.stored_jpegs(np.rint(corner * plane.step).astype(np.int64), plan)
    return streams[0] if streams else None


def plane_for(offered: Sequence[Plane], downsample: float) -> Plane:
    """The coarsest plane that is not coarser than so many level-0 pixels per pixel."""
    limit = downsample * (1 + SAME_STEP)
    fine = [plane for plane in offered if max(plane.step) <= limit]
    return fine[-1] if fine else offered[0]


def _ratio(wanted: int, step: float) -> float:
    """Plane pixels in a Deep Zoom pixel, exactly 1 where the two are the same."""
    ratio = wanted / step
    return 1.0 if abs(ratio - 1) <= SAME_STEP else ratio


def _inside(end: int, start: int, limit: int) -> int:
    """The end of a stretch, which scanners' floored levels may lack a pixel of."""
    return max(start + 1, min(end, limit))
