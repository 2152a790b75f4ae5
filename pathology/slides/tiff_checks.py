"""Whether a TIFF is all there, and what its values mean: told from its directories alone.

A copy that was cut short, or a directory with a flipped bit, must be refused here: further on, what
is missing would look like glass, and what was moved like tissue that never was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

JPEG = 7  # TIFF's code for a compression
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6  # photometric interpretations
PLANES_APART = 2
UNSPECIFIED = 0  # an extra sample that is no alpha
GREY = "a grey picture shows no stains"
MAX_TILE_PIXELS = 1 << 26
MAX_SEGMENT_BYTES = 1 << 28
MAX_FLAT_PIXELS = 200_000_000  # 600 MB as RGB; larger images must be tiled files


class TooLarge(ValueError):
    """An image that is in one piece and would not fit into memory."""


def require_whole(pages: Sequence[Any], next_page: int, file_bytes: int) -> None:
    """Raise ValueError unless the file reaches as far as its directories say.

    pages      tifffile's pages, all of the file
    next_page  where the last of them says another one lies; 0 where it is the last indeed
    """
    if next_page:
        raise ValueError("its list of pages breaks off, so the copy is incomplete")
    for page in pages:
        if any(offset >= file_bytes for offset in page.subifds or ()):
            raise ValueError("the file ends before its smaller levels, so the copy is incomplete")
        ends = np.add(page.dataoffsets, page.databytecounts, dtype=np.int64)
        if len(ends) and ends.max() > file_bytes:
            raise ValueError("the file ends before its stored tiles, so the copy is incomplete")


def require_tiles(
    tile: tuple[int, int],
    num_tiles: int,
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    is_sparse: bool,
) -> None:
    """Raise ValueError unless a list of tiles fits the image that it belongs to.

    tile       (width, height) of a stored tile
    num_tiles  how many the image's size asks for
    is_sparse  tiles without bytes are normal in this dialect; elsewhere they have no place either
    """
    if len(offsets) != num_tiles or len(counts) != num_tiles:
        raise ValueError(f"{len(offsets)} tiles listed where {num_tiles} are needed")
    if (counts < 0).any() or (counts > MAX_SEGMENT_BYTES).any() or (offsets < 0).any():
        raise ValueError("the list of tiles holds impossible sizes")
    if tile[0] * tile[1] > MAX_TILE_PIXELS:
        raise ValueError(f"tiles of {tile[0]}x{tile[1]} px are impossible")
    if not is_sparse and ((counts == 0) & (offsets > 0)).any():
        raise ValueError("stored tiles are listed without their sizes")


def require_flat(page: Any) -> None:
    """Raise ValueError unless a page can be held in memory and is an image of colours."""
    if page.imagewidth * page.imagelength * page.imagedepth > MAX_FLAT_PIXELS:
        raise TooLarge(f"{page.imagewidth}x{page.imagelength} px is too large for a flat image")
    if page.is_tiled and page.tilewidth * page.tilelength > MAX_TILE_PIXELS:
        raise ValueError(f"tiles of {page.tilewidth}x{page.tilelength} px are impossible")
    if len(page.dataoffsets) < math.prod(page.chunked):
        raise ValueError(
            f"{len(page.dataoffsets)} strips listed where {math.prod(page.chunked)} are needed"
        )
    if page.bitspersample not in (1, 8, 16):
        raise ValueError(f"{page.bitspersample}-bit pixels; 8- or 16-bit ones are needed")
    if page.photometric not in _meanings(page):
        raise ValueError(
            f"{page.samplesperpixel} channels with colours of kind {int(page.photometric)}; "
            "RGB or grey is needed"
        )


def is_readable(page: Any) -> bool:
    """Whether a page is tiled 8-bit RGB, which is read tile by tile."""
    return bool(
        page.is_tiled
        and page.dtype == np.uint8
        and page.samplesperpixel == 3
        and page.planarconfig != PLANES_APART
        and (page.photometric == RGB or (page.photometric == YCBCR and page.compression == JPEG))
        and page.imagewidth > 0
        and page.imagelength > 0
        and min(page.tilewidth, page.tilelength) >= 16
    )


def colors_lack(page: Any) -> str:
    """What a page's values lack to be colours of 8 bits, by its directory, or ""."""
    if page.photometric == PALETTE:
        return ""
    if page.samplesperpixel < 3:
        return GREY
    return "" if page.bitspersample == 8 else f"{page.bitspersample}-bit colours"


def shows_the_same(base: Any, page: Any) -> bool:
    """Whether a page can be the base page in fewer pixels, by its shape."""
    ratio = base.imagewidth / page.imagewidth
    return bool(ratio > 1.5 and abs(page.imagelength * ratio - base.imagelength) <= 2 * ratio)


def colors_of(values: NDArray[Any], page: Any) -> NDArray[Any]:
    """A flat page's values as grey (H, W) or colours (H, W, channels), black at zero.

    A fourth sample is alpha, unless the page says that it is something else.
    """
    if page.photometric == PALETTE:
        table: NDArray[Any] = np.asarray(page.colormap)
        table = table >> 8 if table.max() > 255 else table
        return np.stack([channel.astype(np.uint8)[values] for channel in table], axis=-1)
    if page.photometric == WHITE_IS_ZERO:
        return ~values
    if page.planarconfig == PLANES_APART and values.ndim == 3:
        values = np.moveaxis(values, 0, 2)
    is_no_alpha = page.samplesperpixel == 4 and tuple(page.extrasamples) == (UNSPECIFIED,)
    return values[..., :3] if is_no_alpha else values


def _meanings(page: Any) -> tuple[int, ...]:
    """The photometric interpretations that a page of so many channels can be read by."""
    if page.samplesperpixel == 1:
        return (WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE)
    return (RGB, YCBCR) if page.compression == JPEG else (RGB,)
