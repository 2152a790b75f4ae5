"""From the bands of a slide to one OME-TIFF: encoded tiles go through, coarse levels are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pathology.core.artifact import publish
from pathology.slides.ome_writer import (
    FACTOR,
    OmeFacts,
    PyramidConfig,
    StoredLevel,
    encode_tiles,
    level_sizes,
    write_ome,
)
from pathology.slides.plan import Pair
from pathology.slides.reader import shrink
from pathology.stain.matrix import Pixels
from pipelines.band_file import BandFile


def assemble(
    path: Path, bands: Sequence[BandFile], size: Pair, config: PyramidConfig, facts: OmeFacts
) -> int:
    """Write the bands of a picture of (width, height) as one file; returns its bytes.

    Memory holds one strip of the first level that is not encoded, and the levels below it, which
    are a thousandth of the slide and less.
    """
    sizes = level_sizes(size, config.tile_px)
    num_encoded = len(bands[0].index.spans)
    levels = [
        StoredLevel(each, _tiles_of(bands, level)) for level, each in enumerate(sizes[:num_encoded])
    ]
    smaller: list[Pixels] = []
    if len(sizes) > num_encoded:
        levels.append(StoredLevel(sizes[num_encoded], _first_made(bands, config, smaller)))
    for depth, each in enumerate(sizes[num_encoded + 1 :]):
        levels.append(StoredLevel(each, _further_made(smaller, depth, config)))
    with publish(path) as scratch:
        write_ome(scratch, levels, config, facts)
        return scratch.stat().st_size


def strips(parts: Sequence[BandFile], rows: int) -> Iterator[Pixels]:
    """What the bands left over, in strips of so many rows; the last may be lower."""
    waiting: list[Pixels] = []
    for part in parts:
        waiting.append(part.rest())
        while sum(len(pixels) for pixels in waiting) >= rows:
            joined = np.concatenate(waiting)
            yield joined[:rows]
            waiting = [joined[rows:]]
    joined = np.concatenate(waiting)
    if len(joined):
        yield joined


def _tiles_of(bands: Sequence[BandFile], level: int) -> Iterator[bytes]:
    for band in bands:
        yield from band.tiles(level)


def _first_made(
    bands: Sequence[BandFile], config: PyramidConfig, smaller: list[Pixels]
) -> Iterator[bytes]:
    """Tiles of the finest level that the bands hold as pixels; the next level goes to smaller."""
    for strip in strips(bands, config.tile_px):
        smaller.append(shrink(strip, FACTOR))  # first: after the last tile nobody asks again
        yield from encode_tiles(strip, config)


def _further_made(smaller: Sequence[Pixels], depth: int, config: PyramidConfig) -> Iterator[bytes]:
    """Tiles of a coarser level, made once the strips of the one above are all there."""
    pixels = np.concatenate(smaller)
    for _ in range(depth):
        pixels = shrink(pixels, FACTOR)
    yield from encode_tiles(pixels, config)
