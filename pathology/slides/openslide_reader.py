"""Every format OpenSlide knows, through OpenSlide; its errors become ours here."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from pathology.core.errors import UnreadableSlide
from pathology.slides.plan import Level, Pair, Plane, ReadPlan, levels_of_sizes
from pathology.slides.reader import STRIP_PX, Halved, Pixels, SlideFacts, shrink, tiles_one_by_one
from pathology.slides.resolution import Spacing

MAX_REDUCTION = 64
MAX_EDGE_PX = 1 << 22  # a metre at 0.25 um/px
FOREIGN = (
    openslide.OpenSlideError, OSError, ValueError, OverflowError, MemoryError, ctypes.ArgumentError,
)  # fmt: skip
COPY_AGAIN = "Copy the file again from the scanner and check that it opens in a viewer"


class OpenSlideReader:
    """A slide behind OpenSlide. Threads may share it; processes may not."""

    def __init__(self, slide_id: str, path: Path) -> None:
        self.slide_id = slide_id
        try:
            self._slide = openslide.OpenSlide(path)
            self.facts = _facts(self._slide.properties, openslide.OpenSlide.detect_format(path))
            sizes = [(int(w), int(h)) for w, h in self._slide.level_dimensions]
            if not 0 < min(sizes[0]) <= max(sizes[0]) <= MAX_EDGE_PX:
                raise ValueError(f"{sizes[0][0]}x{sizes[0][1]} px is no possible size of a slide")
        except FOREIGN as error:
            raise UnreadableSlide(slide_id, f"{path.name}: {error}", COPY_AGAIN) from error
        self.levels: tuple[Level, ...] = levels_of_sizes(sizes)
        self.max_reduction = MAX_REDUCTION

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def read_plane(self, plane: Plane, xy: Pair, size: Pair) -> Pixels:
        """Pixels (height, width, 3) of a rectangle of the plane, read in bounded pieces."""
        rows_at_once = max(1, STRIP_PX // (size[0] * plane.reduction**2))
        pieces = [
            self._read_piece(plane, xy[0], xy[1] + top, size[0], min(rows_at_once, size[1] - top))
            for top in range(0, size[1], rows_at_once)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def iter_tiles(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> Iterator[Pixels]:
        """One tile (size_px, size_px, 3) after the other."""
        return tiles_one_by_one(self, l0_xy, plan)

    def stored_jpegs(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> list[bytes] | None:
        """None: OpenSlide does not give stored streams."""
        return None

    def iter_halved(
        self, l0_xy: NDArray[np.int64], plan: ReadPlan, quality: int
    ) -> Iterator[Halved | None] | None:
        """None, for the same reason."""
        return None

    def _read_piece(self, plane: Plane, x: int, y: int, width: int, height: int) -> Pixels:
        l0 = (round(x * plane.step[0]), round(y * plane.step[1]))
        size = (width * plane.reduction, height * plane.reduction)
        try:
            rgba = np.asarray(self._slide.read_region(l0, plane.level, size))
        except FOREIGN as error:
            raise UnreadableSlide(
                self.slide_id,
                f"the region at ({l0[0]}, {l0[1]}) of level {plane.level} is damaged ({error})",
                COPY_AGAIN,
            ) from error
        return shrink(_on_glass(rgba), plane.reduction)


def vendor_of(path: Path) -> str | None:
    """The dialect OpenSlide recognizes in a file, or None."""
    try:
        vendor = openslide.OpenSlide.detect_format(path)
    except (openslide.OpenSlideError, OSError):
        return None
    return str(vendor) if vendor else None


def library_version() -> str:
    """Version of the OpenSlide library itself."""
    return str(openslide.__library_version__)


def _on_glass(rgba: NDArray[np.uint8]) -> Pixels:
    """RGB of RGBA, where what was not scanned is white."""
    rgb = np.ascontiguousarray(rgba[..., :3])
    alpha = rgba[..., 3]
    if alpha.min() < 255:
        rgb[alpha == 0] = 255
    return rgb


def _facts(properties: Mapping[str, str], vendor: str | None) -> SlideFacts:
    spacings = []
    x, y = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    if x and y:
        source = "tiff" if vendor == "generic-tiff" else "slide"
        spacings.append(Spacing((x, y), source))
    names = (
        "openslide.objective-power",
        "openslide.quickhash-1",
    )  # never comments: they name people
    kept = {n.removeprefix("openslide."): properties[n] for n in names if n in properties}
    return SlideFacts(tuple(spacings), vendor or "unknown", _bounds(properties), kept)


def _bounds(properties: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    values = [
        _number(properties.get(f"openslide.bounds-{n}")) for n in ("x", "y", "width", "height")
    ]
    x, y, width, height = values
    if x is None or y is None or width is None or height is None:
        return None
    return int(x), int(y), int(width), int(height)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
