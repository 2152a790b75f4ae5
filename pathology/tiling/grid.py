"""Where tiles lie: corners on a slide, the tissue each holds, and the order of reading."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.slides.plan import Pair

Corners = NDArray[np.int64]  # (N, 2) as x, y, level-0 pixels
BLOCK_EDGE = 8  # tiles of one block lie within 8 x 8, so that neighbours share decoded pixels


def tile_grid(l0_slide: Pair, l0_size: Pair, l0_stride: Pair, l0_origin: Pair = (0, 0)) -> Corners:
    """Top-left corners, (N, 2) as x, y, of every whole tile that fits on a slide.

    All arguments are in level-0 pixels as (x, y) or (width, height); l0_slide is where the
    scanned area ends. Rows run left to right, then top to bottom. A slide smaller than one tile
    gives (0, 2).

    >>> tile_grid((500, 300), l0_size=(200, 200), l0_stride=(200, 200)).tolist()
    [[0, 0], [200, 0]]
    """
    x, y = (
        np.arange(l0_origin[i], l0_slide[i] - l0_size[i] + 1, l0_stride[i], dtype=np.int64)
        for i in (0, 1)
    )
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def tissue_fractions(
    mask: NDArray[np.bool_], l0_xy: Corners, l0_size: Pair, l0_slide: Pair
) -> NDArray[np.float32]:
    """Share of each tile's area, (N,) from 0 to 1, that a mask of the whole slide marks.

    mask  (H, W), any size: it is stretched over the slide's l0_slide pixels
    """
    if not len(l0_xy):
        return np.zeros(0, np.float32)
    sums = cv2.integral(mask.astype(np.uint8))
    scale = np.array([mask.shape[1] / l0_slide[0], mask.shape[0] / l0_slide[1]])
    edges = np.array([mask.shape[1], mask.shape[0]])
    low = np.minimum(np.rint(l0_xy * scale).astype(np.int64), edges - 1)
    high = np.clip(np.rint((l0_xy + np.asarray(l0_size)) * scale).astype(np.int64), low + 1, edges)
    (x0, y0), (x1, y1) = low.T, high.T
    marked = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return np.asarray(marked / ((x1 - x0) * (y1 - y0)), np.float32)


def by_block(l0_xy: Corners, l0_stride: Pair, edge: int = BLOCK_EDGE) -> list[Corners]:
    """The corners in blocks of edge x edge grid places; blocks, and tiles in them, row by row.

    Tiles that lie near each other are read together, so a stored tile that several of them
    touch is decoded once, and they end up near each other in the store.
    """
    if not len(l0_xy):
        return []
    place = l0_xy // np.asarray(l0_stride)
    block = place // edge
    order = np.lexsort((l0_xy[:, 0], l0_xy[:, 1], block[:, 0], block[:, 1]))
    block = block[order]
    starts = np.flatnonzero((np.diff(block, axis=0) != 0).any(axis=1)) + 1
    return [np.ascontiguousarray(part) for part in np.split(l0_xy[order], starts)]
