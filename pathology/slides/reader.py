"""What every reader of slides offers, and the scaling they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import UnreadableSlide
from pathology.slides.plan import Level, Pair, Plane, ReadPlan, planes
from pathology.slides.resolution import Spacing

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
MAX_THUMBNAIL_PX = 1 << 28
STRIP_PX = 1 << 24  # pixels held at once while a large area is scaled down


@dataclass(frozen=True)
class SlideFacts:
    """What a file says of itself, before anything is decided.

    spacings   what it says of its resolution, most trusted first
    l0_bounds  (x, y, width, height) of the scanned area in the level-0 plane (MRXS), or None
    vendor     the file's dialect, as OpenSlide names it, or the container's name
    properties other entries worth keeping, such as the objective power
    normalized_by  fingerprint of the stain that the file was rendered in; "": as it was scanned
    """

    spacings: tuple[Spacing, ...]
    vendor: str
    l0_bounds: tuple[int, int, int, int] | None = None
    properties: dict[str, str] = field(default_factory=dict)
    normalized_by: str = ""


class Halved(NamedTuple):
    """A tile as a JPEG stream, with its Y, Cb and Cr planes (3, H, W), valid until the next."""

    stream: bytes
    planes: NDArray[np.uint8]


class SlideReader(Protocol):
    """An open slide. Positions are level-0 pixels unless a plane is named; (x, y) throughout."""

    slide_id: str
    facts: SlideFacts
    levels: tuple[Level, ...]
    max_reduction: int

    def read_plane(self, plane: Plane, xy: Pair, size: Pair) -> Pixels:
        """Pixels (height, width, 3) of a rectangle given in the plane's own pixels."""
        ...

    def iter_tiles(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> Iterator[Pixels]:
        """One tile (size_px, size_px, 3) after the other, at level-0 corners (N, 2).

        A tile's pixels are valid until the next is asked for: they may share one buffer. Near
        corners in a row are read faster, since what they share is decoded once.
        """
        ...

    def stored_jpegs(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> list[bytes] | None:
        """The tiles' own JPEG streams where the file's tiles are exactly these, else None."""
        ...

    def iter_halved(
        self, l0_xy: NDArray[np.int64], plan: ReadPlan, quality: int
    ) -> Iterator[Halved | None] | None:
        """Tiles at half the stored size, straight from stored JPEG to JPEG of a quality, 4:4:4.

        None where the plan or the file is not of that kind; a None among the tiles stands for one
        that must be read as usual.
        """
        ...

    def close(self) -> None: ...


def read_tiles(slide: SlideReader, l0_xy: NDArray[np.int64], plan: ReadPlan) -> Pixels:
    """Tiles (N, size_px, size_px, 3) at level-0 corners (N, 2), all in memory."""
    tiles = np.empty((len(l0_xy), plan.size_px, plan.size_px, 3), np.uint8)
    for place, tile in zip(tiles, slide.iter_tiles(l0_xy, plan), strict=True):
        place[:] = tile
    return tiles


def tiles_one_by_one(
    slide: SlideReader, l0_xy: NDArray[np.int64], plan: ReadPlan
) -> Iterator[Pixels]:
    """One tile after the other, each read by itself: for readers that can share nothing."""
    for x, y in to_plane(l0_xy, plan.plane).tolist():
        region = slide.read_plane(plan.plane, (x, y), plan.read_px)
        yield scale_to(region, (plan.size_px, plan.size_px))


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

    Read in strips, so that memory depends on the thumbnail's size and not on the slide's. Raises
    UnreadableSlide where the thumbnail itself would be too large, which no true spacing gives.
    """
    l0_width, l0_height = slide.levels[0].size
    size = (
        max(1, round(l0_width * slide_mpp[0] / mpp)),
        max(1, round(l0_height * slide_mpp[1] / mpp)),
    )
    if size[0] * size[1] > MAX_THUMBNAIL_PX:
        raise UnreadableSlide(
            slide.slide_id,
            f"{l0_width}x{l0_height} px at {slide_mpp[0]:.4g} um/px cannot be true: its overview "
            f"at {mpp:g} um/px would be {size[0]}x{size[1]} px",
            "Give the slide's mpp in the manifest, or look for tissue at a coarser tissue.mpp",
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
