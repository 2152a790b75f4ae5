"""The picture of a whole slide at one resolution, of which any part can be read by itself."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from pathology.core.errors import WrongResolution
from pathology.core.geometry import TileSpec
from pathology.slides.plan import Pair, Plane, plan_tiles, planes
from pathology.slides.reader import SlideReader, scale_to
from pathology.stain.matrix import Pixels
from pipelines.stain_windows import Box

CUBIC_PX = 8  # plane pixels around an enlarged part that shape its edge


@dataclass(frozen=True)
class Canvas:
    """A slide's picture at one resolution. All boxes are in its own pixels.

    plane    what is read of the slide
    read_px  (width, height) in plane pixels of what becomes tile_px pixels here, whole numbers so
             that parts fit together without a seam
    mpp      (x, y)
    """

    plane: Plane
    read_px: Pair
    tile_px: int
    mpp: tuple[float, float]

    @property
    def size(self) -> Pair:
        """(width, height), all of it covered by the plane."""
        width, height = (
            max(1, edge * self.tile_px // read)
            for edge, read in zip(self.plane.size, self.read_px, strict=True)
        )
        return width, height

    def read(self, slide: SlideReader, box: Box) -> Pixels:
        """Pixels (height, width, 3) of a part of the picture."""
        if self.read_px == (self.tile_px, self.tile_px):
            return slide.read_plane(self.plane, (box.x0, box.y0), box.size)
        (left, right), (top, bottom) = (
            self._whole(axis, low, high)
            for axis, (low, high) in enumerate(((box.x0, box.x1), (box.y0, box.y1)))
        )
        corner = (self._in_plane(0, left), self._in_plane(1, top))
        end = (self._in_plane(0, right), self._in_plane(1, bottom))
        region = slide.read_plane(self.plane, corner, (end[0] - corner[0], end[1] - corner[1]))
        scaled = scale_to(region, (right - left, bottom - top))
        return box.moved(-left, -top).of(scaled)

    def _whole(self, axis: int, low: int, high: int) -> tuple[int, int]:
        """The shortest stretch around low..high that is a whole number of plane pixels."""
        read = self.read_px[axis]
        unit = self.tile_px // gcd(self.tile_px, read)
        around = CUBIC_PX if read < self.tile_px else 0
        return max(0, low - around) // unit * unit, -(-(high + around) // unit) * unit

    def _in_plane(self, axis: int, place: int) -> int:
        return place * self.read_px[axis] // self.tile_px


def whole_canvas(
    slide: SlideReader, slide_mpp: tuple[float, float], tile_px: int, mpp: float | None
) -> Canvas:
    """The slide's picture as scanned, or at mpp. Raises WrongResolution where it is too coarse."""
    if mpp is None:
        plane = planes(slide.levels, 1)[0]
        return Canvas(plane, (tile_px, tile_px), tile_px, slide_mpp)
    spec = TileSpec(size_px=tile_px, mpp=mpp)
    try:
        plan = plan_tiles(slide.slide_id, slide.levels, slide.max_reduction, slide_mpp, spec)
    except WrongResolution as fault:
        raise WrongResolution(
            slide.slide_id,
            f"its finest resolution is {max(slide_mpp):.4g} um/px, too coarse to be written at "
            f"{mpp:g} um/px",
            "Ask for a coarser --mpp, or take a model that was trained at such a resolution",
        ) from fault
    return Canvas(plan.plane, plan.read_px, tile_px, plan.achieved_mpp)
