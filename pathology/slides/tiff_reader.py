"""Tiled TIFF read segment by segment: each stored tile is fetched and decoded once, and scaled
down while it is decoded. Positions come from the directory alone, so threads share one reader."""

from __future__ import annotations

import logging
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pathology.core.errors import UnreadableSlide
from pathology.slides import jpeg
from pathology.slides.orientation import ORIENTATION, orientation_of, upright, upright_facts
from pathology.slides.plan import Level, Pair, Plane, ReadPlan, levels_of_sizes
from pathology.slides.reader import Halved, Pixels, SlideFacts, scale_to, shrink, to_plane
from pathology.slides.tiff_checks import (
    JPEG,
    colors_lack,
    colors_of,
    is_readable,
    require_flat,
    require_whole,
    shows_the_same,
)
from pathology.slides.tiff_facts import facts_of_page
from pathology.slides.tiff_page import Page, as_rgb, places_in

GLASS = 255  # what a tile that was never written shows
CONVERT = "Check the copy of the file, or convert it to a tiled pyramidal TIFF"
FOREIGN = (
    tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    struct.error, OverflowError, MemoryError, ZeroDivisionError, RuntimeError, SyntaxError,
    EOFError, AssertionError, zlib.error, lzma.LZMAError,
)  # fmt: skip

tifffile.logger().setLevel(logging.CRITICAL)  # what matters of its remarks is raised here

Segments = dict[tuple[int, int], Pixels]  # decoded tiles of one plane by (column, row)


class TiffReader:
    """A pyramid of tiled 8-bit RGB pages. Holds a file descriptor: open it where it is used."""

    def __init__(self, slide_id: str, path: Path, facts: SlideFacts | None = None) -> None:
        self.slide_id = slide_id
        self.path = path
        try:
            with tifffile.TiffFile(path) as tiff:
                _require_whole(tiff)
                pages = _pyramid(tiff)
                is_sparse = facts is not None and facts.vendor == "aperio"
                self._pages = [Page.of(page, is_sparse) for page in pages]
                self.facts = facts or _facts(tiff, pages[0])
        except FOREIGN as error:
            raise UnreadableSlide(
                slide_id, f"{path.name}: damaged TIFF ({said_of(error)})", CONVERT
            ) from error
        self.levels: tuple[Level, ...] = levels_of_sizes([page.size for page in self._pages])
        self.max_reduction = min(page.max_reduction for page in self._pages)
        self._file = os.open(path, os.O_RDONLY)

    def close(self) -> None:
        """Give the file descriptor back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read_plane(self, plane: Plane, xy: Pair, size: Pair) -> Pixels:
        """Pixels (height, width, 3) of a rectangle of the plane."""
        canvas = np.empty((size[1], size[0], 3), np.uint8)
        self._fill(canvas, plane, xy)
        return canvas

    def iter_tiles(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> Iterator[Pixels]:
        """One tile (size_px, size_px, 3) after the other, in one buffer; see SlideReader."""
        width, height = plan.read_px
        region = np.empty((height, width, 3), np.uint8)
        edge = (plan.size_px, plan.size_px)
        plane_xy = to_plane(l0_xy, plan.plane)
        segments: Segments | None = {} if self._overlap(plane_xy, plan) else None
        for x, y in plane_xy.tolist():
            self._fill(region, plan.plane, (x, y), segments)
            yield scale_to(region, edge)

    def _overlap(self, plane_xy: NDArray[np.int64], plan: ReadPlan) -> bool:
        """Whether tiles may share stored tiles: not where all their edges lie on stored edges."""
        tile = np.array(self._pages[plan.plane.level].tile) // plan.plane.reduction
        edges = np.concatenate([plane_xy, [plan.read_px], [plan.stride_px]])
        return bool((edges % tile).any() or (np.array(plan.stride_px) < plan.read_px).any())

    def stored_jpegs(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> list[bytes] | None:
        """The file's own streams where its tiles lie exactly where these tiles should."""
        page = self._pages[plan.plane.level]
        edge = (plan.size_px, plan.size_px)
        if plan.is_resampled or plan.plane.reduction > 1 or page.tile != edge or not page.is_jpeg:
            return None
        plane_xy = to_plane(l0_xy, plan.plane)
        if (plane_xy % plan.size_px).any():
            return None
        return self._streams(page, (plane_xy // plan.size_px).tolist())

    def iter_halved(
        self, l0_xy: NDArray[np.int64], plan: ReadPlan, quality: int
    ) -> Iterator[Halved | None] | None:
        """Tiles whose edges lie on stored edges, at half the stored size; see SlideReader."""
        page, plane_xy = self._pages[plan.plane.level], to_plane(l0_xy, plan.plane)
        is_half = plan.plane.reduction == 2 and not plan.is_resampled
        if not (jpeg.CAN_HALVE and is_half and page.is_jpeg) or self._overlap(plane_xy, plan):
            return None
        return self._halve(plane_xy, plan, quality)

    def _halve(
        self, plane_xy: NDArray[np.int64], plan: ReadPlan, quality: int
    ) -> Iterator[Halved | None]:
        page, edge = self._pages[plan.plane.level], plan.size_px
        tile_w, tile_h = page.tile[0] // 2, page.tile[1] // 2
        planes = np.empty((3, edge, edge), np.uint8)
        for x, y in plane_xy.tolist():
            places = places_in(x, y, edge, edge, tile_w, tile_h, page.grid)
            whole = self._streams(page, places)
            stream = None
            if whole is not None:
                stream = jpeg.halve(whole, edge // tile_w, quality, planes)
            yield None if stream is None else Halved(stream, planes)

    def _streams(self, page: Page, places: Iterable[Pair]) -> list[bytes] | None:
        """JPEG streams of stored tiles; None where one is missing or none: reading says so."""
        streams = []
        for column, row in places:
            data = self._fetch(page, column, row)
            if not data.startswith(jpeg.SOI):
                return None
            streams.append(jpeg.whole_stream(data, page.tables, page.is_rgb))
        return streams

    def _fill(
        self, canvas: Pixels, plane: Plane, xy: Pair, segments: Segments | None = None
    ) -> None:
        """Paint the rectangle at xy.

        segments  remembers what was decoded, one row of stored tiles deep; None: nothing is shared
        """
        page = self._pages[plane.level]
        height, width = canvas.shape[:2]
        tile_w, tile_h = page.tile[0] // plane.reduction, page.tile[1] // plane.reduction
        x0, y0 = xy
        if segments:
            for gone in [place for place in segments if (place[1] + 1) * tile_h <= y0]:
                del segments[gone]
        if x0 < 0 or y0 < 0 or x0 + width > plane.size[0] or y0 + height > plane.size[1]:
            canvas[:] = GLASS
        buffer = np.empty((tile_h, tile_w, 3), np.uint8) if segments is None else None
        for column, row in places_in(x0, y0, width, height, tile_w, tile_h, page.grid):
            if segments is None:
                segment = self._decode(page, column, row, plane, buffer)
            elif (column, row) in segments:
                segment = segments[column, row]
            else:
                segment = segments[column, row] = self._decode(page, column, row, plane)
            left, top = column * tile_w - x0, row * tile_h - y0
            right = min(left + segment.shape[1], width)
            bottom = min(top + segment.shape[0], height)
            canvas[max(top, 0) : bottom, max(left, 0) : right] = segment[
                max(-top, 0) : bottom - top, max(-left, 0) : right - left
            ]

    def _decode(
        self, page: Page, column: int, row: int, plane: Plane, buffer: Pixels | None = None
    ) -> Pixels:
        """One stored tile at the plane's reduction, in the buffer where it fits there."""
        data = self._fetch(page, column, row)
        reduction = plane.reduction
        if not data:
            return np.full(
                (page.tile[1] // reduction, page.tile[0] // reduction, 3), GLASS, np.uint8
            )
        try:
            if page.is_jpeg:
                scale = min(reduction, jpeg.MAX_SCALE)
                stream = jpeg.whole_stream(data, page.tables, page.is_rgb)
                pixels = jpeg.decode(
                    stream, page.tile, scale, buffer if scale == reduction else None
                )
                return shrink(pixels, reduction // scale)
            decoded, *_ = page.decoder(data, row * page.grid[0] + column)
            return shrink(as_rgb(decoded), reduction)
        except FOREIGN as error:
            raise UnreadableSlide(
                self.slide_id,
                f"the stored tile at column {column}, row {row} of level {plane.level} is damaged "
                f"({error})",
                "Copy the file again from the scanner; its other tiles may be fine",
            ) from error

    def _fetch(self, page: Page, column: int, row: int) -> bytes:
        index = row * page.grid[0] + column
        count = int(page.counts[index])
        data = os.pread(self._file, count, int(page.offsets[index]))
        if len(data) != count:
            raise UnreadableSlide(
                self.slide_id,
                f"the file ends before its stored tile at column {column}, row {row}",
                "The copy is incomplete: copy the file again from the scanner",
            )
        return data


def is_tiled_rgb(path: Path) -> bool:
    """Whether the first page of a TIFF is something TiffReader reads."""
    return bool(_asked(path, is_readable))


def has_jpeg_tiles(path: Path) -> bool:
    """Whether the first page is readable here and its tiles are JPEG, the fast case."""
    return bool(_asked(path, lambda page: is_readable(page) and page.compression == JPEG))


def colors_lacking(path: Path) -> str:
    """What a TIFF's first page lacks to be 8-bit colours; "" where it cannot be told, too."""
    return str(_asked(path, colors_lack) or "")


def _asked(path: Path, question: Callable[[Any], Any]) -> Any:
    """The answer to a question on the first page of a TIFF; None where there is none."""
    try:
        with tifffile.TiffFile(path) as tiff:
            return question(tiff.pages.first)
    except FOREIGN:
        return None


def require_whole_tiff(slide_id: str, path: Path) -> None:
    """Raise UnreadableSlide where a tiled TIFF that another reader opens was cut or muddled."""
    try:
        with tifffile.TiffFile(path) as tiff:
            _require_whole(tiff)
            if tiff.pages.first.is_tiled:
                Page.of(tiff.pages.first, is_sparse=True)
    except FOREIGN as error:
        raise UnreadableSlide(
            slide_id, f"{path.name}: damaged TIFF ({said_of(error)})", CONVERT
        ) from error


def read_flat_tiff(path: Path) -> tuple[NDArray[Any], SlideFacts]:
    """The first page's grey or colours, upright, and what the file says of its resolution."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        _require_whole(tiff)
        require_flat(page)
        turn = orientation_of(page.tags.valueof(ORIENTATION))
        values = colors_of(page.asarray(), page)
        return upright(values, turn), upright_facts(_facts(tiff, page), turn)


def said_of(error: BaseException) -> str:
    """What a library says is wrong, for people: with the error's kind where that is a word or less.

    >>> said_of(KeyError(0)), said_of(ValueError("no strips"))
    ('KeyError: 0', 'no strips')
    """
    said = " ".join(str(error).split())[:200]
    return said if " " in said else f"{type(error).__name__}: {said}".removesuffix(": ")


def _require_whole(tiff: tifffile.TiffFile) -> None:
    pages = [page.aspage() for page in tiff.pages]  # which finds them all
    tiff.filehandle.seek(tiff.pages.next_page_offset or 0)
    pointer = tiff.filehandle.read(tiff.tiff.offsetsize)
    (next_page,) = struct.unpack(tiff.tiff.offsetformat, pointer)
    below = [page.aspage() for page in pages[0].pages or ()]
    require_whole([*pages, *below], next_page, tiff.filehandle.size)


def _pyramid(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The base page and, in falling size, the pages that show the same in fewer pixels."""
    base = tiff.pages.first
    if not is_readable(base):
        raise ValueError("its first page is not tiled 8-bit RGB")
    others = [*(base.pages or ()), *tiff.pages[1:]]
    smaller = [page.aspage() for page in others]
    same = [page for page in smaller if is_readable(page) and shows_the_same(base, page)]
    by_width = {page.imagewidth: page for page in reversed(same)}
    return [base, *(by_width[width] for width in sorted(by_width, reverse=True))]


def _facts(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> SlideFacts:
    if not tiff.is_ome:
        return facts_of_page(page.tags, None)
    text = tiff.ome_metadata or ""
    return facts_of_page(page.tags, tifffile.xml2dict(text), text)
