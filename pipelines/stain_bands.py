"""A whole slide rendered in bands, each by itself and each into a file of its own.

A band is a row of blocks; a block is square and a whole number of tiles at the levels that are
encoded with it, so that no tile needs two blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pathology.core.artifact import publish
from pathology.core.manifest import SlideRecord
from pathology.slides.ome_writer import FACTOR, PyramidConfig, encode_tiles, level_sizes
from pathology.slides.open import open_slide
from pathology.slides.plan import Pair
from pathology.slides.reader import SlideReader, shrink
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import SlideNormalizer
from pipelines.band_file import BandWriter, open_band
from pipelines.stain_canvas import Canvas
from pipelines.stain_windows import Box, boxes, num_tiles, render_inner, surroundings

BLOCK_PX = 2048
ENCODED_LEVELS = 2  # in a band; the coarser ones are made of what all bands leave

Report = Callable[[int], None]  # told how many more tiles were done


@dataclass(frozen=True)
class BandPlan:
    """How one slide is rendered; it crosses to the processes that do it.

    folder       of the bands' files
    fingerprint  of the slide that is being made
    remark       what is to be said of how it is made, or ""
    """

    record: SlideRecord
    canvas: Canvas
    normalizer: SlideNormalizer
    config: PyramidConfig
    fingerprint: str
    folder: Path
    remark: str = ""

    @property
    def num_bands(self) -> int:
        """Bands that cover the picture."""
        return -(-self.canvas.size[1] // block_px(self.config.tile_px))

    @property
    def num_tiles(self) -> int:
        """Tiles of the finest level."""
        return num_tiles(self.canvas.size, self.config.tile_px)

    @property
    def num_encoded(self) -> int:
        """Levels that are encoded with the bands."""
        return min(ENCODED_LEVELS, len(level_sizes(self.canvas.size, self.config.tile_px)))

    def box(self, band: int) -> Box:
        """What a band covers of the picture."""
        edge = block_px(self.config.tile_px)
        width, height = self.canvas.size
        return Box(0, band * edge, width, min((band + 1) * edge, height))

    def band_path(self, band: int) -> Path:
        """Where a band's file lies."""
        return self.folder / f"{band:05d}.band"


@dataclass(frozen=True)
class Bands:
    """Some bands of a slide, the work of one process."""

    plan: BandPlan
    numbers: tuple[int, ...]


def block_px(tile_px: int) -> int:
    """Edge of a block: near BLOCK_PX, and whole tiles at every level encoded with it."""
    unit = tile_px * int(FACTOR ** (ENCODED_LEVELS - 1))
    return max(1, BLOCK_PX // unit) * unit


def render_bands(bands: Bands, *, report: Report) -> int:
    """Render the bands that are not there yet; returns how many were rendered.

    Raises SlideError where the slide cannot be read.
    """
    cv2.setNumThreads(1)  # there are as many processes as there should be
    plan, num_rendered = bands.plan, 0
    with closing(open_slide(plan.record)) as slide:
        for number in bands.numbers:
            if open_band(plan.band_path(number), plan.fingerprint) is not None:
                report(num_tiles(plan.box(number).size, plan.config.tile_px))
                continue
            _render_band(slide, plan, number, report)
            num_rendered += 1
    return num_rendered


def _render_band(slide: SlideReader, plan: BandPlan, number: int, report: Report) -> None:
    band, tile_px = plan.box(number), plan.config.tile_px
    grids = [_grid(band.size, tile_px, level) for level in range(plan.num_encoded)]
    with publish(plan.band_path(number)) as scratch:
        writer = BandWriter(scratch, plan.fingerprint, grids)
        try:
            rest = []
            for block in boxes(band.size, block_px(tile_px)):
                pixels, num_passed = _render_block(slide, plan, block.moved(0, band.y0))
                writer.index.num_passed += num_passed
                rest.append(_encode_block(writer, plan, block, pixels))
                report(num_tiles(block.size, tile_px))
            writer.finish(np.concatenate(rest, axis=1))
        finally:
            writer.close()


def _render_block(slide: SlideReader, plan: BandPlan, block: Box) -> tuple[Pixels, int]:
    around = surroundings(plan.normalizer, block, plan.canvas.size)
    pixels = plan.canvas.read(slide, around)
    inner = block.moved(-around.x0, -around.y0)
    return render_inner(plan.normalizer, pixels, inner, plan.config.tile_px)


def _encode_block(writer: BandWriter, plan: BandPlan, block: Box, pixels: Pixels) -> Pixels:
    """Write a block's tiles level by level; returns it at the first level that is left over."""
    tile_px = plan.config.tile_px
    for level in range(plan.num_encoded):
        edge = tile_px * FACTOR**level  # of a tile, in pixels of the finest level
        places = _places(block.x0 // edge, pixels.shape[1], pixels.shape[0], tile_px)
        for (column, row), encoded in zip(places, encode_tiles(pixels, plan.config), strict=True):
            writer.add(level, column, row, encoded)
        pixels = shrink(pixels, FACTOR)
    return pixels


def _places(first: int, width: int, height: int, tile_px: int) -> Iterator[Pair]:
    """Column and row of the tiles of a block at one level, row by row."""
    for row in range(-(-height // tile_px)):
        for column in range(-(-width // tile_px)):
            yield first + column, row


def _grid(size: Pair, tile_px: int, level: int) -> Pair:
    """(columns, rows) of tiles that a band of (width, height) has at a level."""
    edge = tile_px * FACTOR**level
    return -(-size[0] // edge), -(-size[1] // edge)
