"""Any change of color that looks at one pixel at a time, as a table of every second level.

A table of all 8-bit colors costs 64 MiB, a second, and a cache miss for many pixels. This one
keeps each channel's even levels, and the last bit of a pixel is added to what it finds: off by
about a level at most where a color changes much faster or slower than the one it is made of.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.stain.matrix import Pixels

Table = NDArray[np.uint32]  # (2**23,) by R / 2 * 65536 + G / 2 * 256 + B / 2; top byte a flag
Flags = NDArray[np.bool_]
FLAG = np.uint32(1 << 24)
EVEN = np.arange(0, 256, 2, dtype=np.uint8)


def build_table(render: Callable[[Pixels], tuple[Pixels, Flags]]) -> Table:
    """The table of a function of even colors (H, W, 3) that gives new ones and flags (H, W)."""
    num = len(EVEN)
    table = np.zeros((num, 256, 256), "<u4")  # a quarter is used, half in memory
    green, blue = np.meshgrid(EVEN, EVEN, indexing="ij")
    for plane, red in zip(table, EVEN, strict=True):
        colors, is_flagged = render(np.dstack([np.full_like(green, red), green, blue]))
        plane[:num, :num] = _packed(colors) | np.where(is_flagged, FLAG, np.uint32(0))
    return table.reshape(-1)


def look_up(table: Table, pixels: Pixels) -> tuple[Pixels, int]:
    """New colors of contiguous pixels (H, W, 3), and how many of them are flagged."""
    places = _packed(pixels)
    places &= np.uint32(0xFEFEFE)
    places >>= np.uint32(1)
    found = table.take(places)
    num_flagged = int(np.count_nonzero(found >= FLAG))
    colors = cv2.cvtColor(found[..., None].view(np.uint8), cv2.COLOR_BGRA2RGB)
    return with_last_bits(np.asarray(colors, np.uint8), pixels), num_flagged


def even(pixels: Pixels) -> Pixels:
    """Pixels without their last bits."""
    return np.bitwise_and(pixels, np.uint8(0xFE))


def with_last_bits(colors: Pixels, pixels: Pixels) -> Pixels:
    """New colors of even pixels, and the last bits of the pixels (H, W, 3) they were."""
    return np.asarray(cv2.add(colors, np.bitwise_and(pixels, np.uint8(1))), np.uint8)


def _packed(pixels: Pixels) -> Table:
    """Colors (H, W, 3) as numbers (H, W), blue in the lowest byte and nothing in the highest."""
    with_alpha = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGRA).view("<u4")[..., 0]
    with_alpha &= FLAG - np.uint32(1)
    return np.asarray(with_alpha, np.uint32)
