"""What every reader of slides offers, and the scaling they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.slides.plan import Level, Pair, Plane, ReadPlan, planes
from pathology.slides.resolution import Spacing

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
STRIP_PX = 1 << 24  # pixels held at once while a large area is scaled down


@dataclass(frozen=True)
class SlideFacts:
    """What a file says of itself, before anything is decided.

    spacings   what it says of its resolution, most trusted first
    l0_bounds  (x, y, width, height) of the scanned area in the level-0 plane (MRXS), or None
    vendor     the file's dialect, as OpenSlide names it, or the container's name
    properties other entries worth keeping, such as the objective power
    """

    spacings: tuple[Spacing, ...]
    vendor: str
    l0_bounds: tuple[int, int, int, int] | None = None
    properties: dict[str, str] = field(default_factory=dict)


class SlideReader(Protocol):
    """An open slide. Positions are level-0 pixels unless a plane is named; (x, y) throughout."""

    slide_id: str
    facts: SlideFacts
    levels: tuple[Level, ...]
    max_reduction: int

    def read_plane(self, plane: Plane, xy: Pair, size: Pair) -> Pixels:
        """Pixels (height, width, 3) of a rectangle given in the plane's own pixels."""
        ...

    def read_tiles(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> Pixels:
        """Tiles (N, size_px, size_px, 3) at level-0 corners (N, 2), near ones decoded once."""
        ...

    def stored_jpegs(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> list[bytes] | None:
        """The tiles' own JPEG streams where the file's tiles are exactly these, else None."""
        ...

    def close(self) -> None: ...


def to_plane(l0_xy: NDArray[np.int64], plane: Plane) -> NDArray[np.int64]:
    """Level-0 corners (N, 2) in the plane's pixels, rounded to whole ones."""
    return np.asarray(np.rint(l0_xy / np.asarray(plane.step)), np.int64)


def scale_to(pixels: Pixels, size: Pair) -> Pixels:
    """Pixels scaled to (width, height): area averages downwards, cubic upwards."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    shrinks = width >= size[0] and height >= size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def shrink(pixels: Pixels, reduction: int) -> Pixels:
    """Area averages over reduction x reduction pixels; a ragged edge averages what there is."""
    if reduction == 1:
        return pixels
    height, width = pixels.shape[:2]
    bottom, right = -height % reduction, -width % reduction
    if bottom or right:
        pixels = np.asarray(
            cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8
        )
    size = (pixels.shape[1] // reduction, pixels.shape[0] // reduction)
    return scale_to(pixels, size)


def read_thumbnail(slide: SlideReader, slide_mpp: tuple[float, float], mpp: float) -> Pixels:
    """The whole slide at mpp microns per pixel, (H, W, 3), at least one pixel a side.

    Read in strips, so that memory depends on the thumbnail's size and not on the slide's.
    """
    l0_width, l0_height = slide.levels[0].size
    size = (
        max(1, round(l0_width * slide_mpp[0] / mpp)),
        max(1, round(l0_height * slide_mpp[1] / mpp)),
    )
    offered = planes(slide.levels, slide.max_reduction)
    fine = [p for p in offered if p.step[0] * slide_mpp[0] <= mpp and p.size[0] >= size[0]]
    plane = fine[-1] if fine else offered[0]
    thumbnail = np.empty((size[1], size[0], 3), np.uint8)
    rows_at_once = max(1, STRIP_PX // plane.size[0] * size[1] // plane.size[1])
    for top in range(0, size[1], rows_at_once):
        bottom = min(size[1], top + rows_at_once)
        y0, y1 = top * plane.size[1] // size[1], -(-bottom * plane.size[1] // size[1])
        strip = slide.read_plane(plane, (0, y0), (plane.size[0], y1 - y0))
        thumbnail[top:bottom] = scale_to(strip, (size[0], bottom - top))
    return thumbnail
