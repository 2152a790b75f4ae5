"""Any change of color that looks at one pixel at a time, as a table of all 8-bit colors.

A table costs 64 MiB and a tenth of a second; after that a pixel costs one look-up, whatever the
arithmetic behind it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.stain.matrix import Pixels

Table = NDArray[np.uint32]  # (2**24,) by R * 65536 + G * 256 + B; the top byte is a flag
Flags = NDArray[np.bool_]
FLAG = np.uint32(1 << 24)


def build_table(render: Callable[[Pixels], tuple[Pixels, Flags]]) -> Table:
    """The table of a function of colors (H, W, 3) that gives new ones and flags (H, W)."""
    table = np.empty((256, 256, 256), "<u4")
    green, blue = np.mgrid[0:256, 0:256].astype(np.uint8)
    for red in range(256):
        colors, is_flagged = render(np.dstack([np.full_like(green, red), green, blue]))
        table[red] = _packed(colors) | np.where(is_flagged, FLAG, np.uint32(0))
    return table.reshape(-1)


def look_up(table: Table, pixels: Pixels) -> tuple[Pixels, int]:
    """New colors of contiguous pixels (H, W, 3), and how many of them are flagged."""
    found = table.take(_packed(pixels))
    num_flagged = int(np.count_nonzero(found >= FLAG))
    colors = cv2.cvtColor(found[..., None].view(np.uint8), cv2.COLOR_BGRA2RGB)
    return np.asarray(colors, np.uint8), num_flagged


def _packed(pixels: Pixels) -> Table:
    """Colors (H, W, 3) as numbers (H, W), blue in the lowest byte."""
    with_alpha = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGRA)
    return np.asarray(with_alpha.view("<u4")[..., 0] & (FLAG - 1), np.uint32)
