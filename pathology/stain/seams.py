"""Seams: whether a border between two tiles shows in the finished picture.

At a border the color steps from the last column of one tile to the first of the next. A step of
the same kind lies just inside each tile, where no border is. Tissue makes both alike; what was
done to tiles one by one adds to the first alone, and their ratio tells.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.stain.matrix import Pixels

INSIDE_PX = 8  # as many steps on either side of a border stand for "just inside"
NOBODY = -1  # where no tile lies
Steps = NDArray[np.float64]


class SeamScore(NamedTuple):
    """Steps across borders over steps just inside tiles: 1 without a seam; NaN where not known.

    ratio         of the mean absolute step of pixels; an edge of one grey level hides in texture
    offset_ratio  of the mean step along a whole border, absolute: finds a tile that is a little
                  lighter or redder than its neighbor, which texture does not hide
    num_borders   that were looked at
    """

    ratio: float
    offset_ratio: float
    num_borders: int


class BorderSteps(NamedTuple):
    """Means over one border, in grey levels: at the border, and just inside."""

    border: float
    inside: float
    border_offset: float
    inside_offset: float


def border_steps(left: Pixels, right: Pixels) -> BorderSteps:
    """Color steps at the border of two tiles (H, W, 3) of which right follows left.

    For tiles one above the other give both with rows and columns exchanged.
    """
    width = min(INSIDE_PX, left.shape[1] - 1, right.shape[1] - 1)
    strip = np.concatenate([left[:, -width - 1 :], right[:, : width + 1]], axis=1)
    steps = np.diff(strip.astype(np.float64), axis=1)  # (H, 2 * width + 1, 3), border in the middle
    size = np.abs(steps).mean(axis=(0, 2))
    offset = np.abs(steps.mean(axis=0)).mean(axis=1)
    is_border = np.arange(len(size)) == width
    return BorderSteps(
        float(size[is_border].mean()),
        float(size[~is_border].mean()),
        float(offset[is_border].mean()),
        float(offset[~is_border].mean()),
    )


def seam_score(borders: list[BorderSteps]) -> SeamScore:
    """The ratios over all borders together: each border counts by the steps it shows."""
    if not borders:
        return SeamScore(float("nan"), float("nan"), 0)
    border, inside, border_offset, inside_offset = np.array(borders).sum(axis=0).tolist()
    return SeamScore(
        _ratio(border, inside), _ratio(border_offset, inside_offset), num_borders=len(borders)
    )


def mosaic_seams(mosaic: Pixels, tile_px: int) -> SeamScore:
    """The seams of a picture (H, W, 3) that was put together of square tiles of tile_px."""
    borders = []
    for picture in (mosaic, mosaic.swapaxes(0, 1)):
        height, width = (size // tile_px for size in picture.shape[:2])
        for row in range(height):
            band = picture[row * tile_px : (row + 1) * tile_px]
            tiles = [band[:, n * tile_px : (n + 1) * tile_px] for n in range(width)]
            borders += [border_steps(*pair) for pair in pairwise(tiles)]
    return seam_score(borders)


def neighbors(l0_xy: NDArray[np.int64], l0_size: tuple[int, int]) -> NDArray[np.int64]:
    """Pairs of tiles that share a whole border, (M, 3): first, second, and the axis they lie along.

    l0_xy    corners (N, 2); l0_size (width, height) of each tile, level-0 pixels
    returns  indices into l0_xy; axis 0: the second lies to the right, 1: below. A level-0 pixel of
             rounding between a tile and the next is allowed

    >>> neighbors(np.array([[0, 0], [64, 0], [0, 64]]), (64, 64)).tolist()
    [[0, 1, 0], [0, 2, 1]]
    """
    at = {(int(x), int(y)): row for row, (x, y) in enumerate(l0_xy)}
    found = []
    for row, (x, y) in enumerate(l0_xy.tolist()):
        for axis, size in enumerate(l0_size):
            for slack in (0, -1, 1):
                step = size + slack
                other = at.get((x + step, y) if axis == 0 else (x, y + step))
                if other is not None:
                    found.append((row, other, axis))
                    break
    return np.array(found, np.int64).reshape(-1, 3)


def tiles_around(pairs_M3: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """The tile at each of the 3 x 3 places about each of num tiles, (N, 3, 3) by row and column.

    pairs_M3  as neighbors gives them
    returns   indices of tiles; NOBODY where there is none, and for a tile that only a corner joins

    >>> tiles_around(np.array([[0, 1, 0], [1, 2, 1]]), 3)[0].tolist()
    [[-1, -1, -1], [-1, 0, 1], [-1, -1, 2]]
    """
    around = np.full((num + 1, 3, 3), NOBODY, np.int64)  # the last, NOBODY's, has nobody around it
    around[:num, 1, 1] = np.arange(num)
    for first, second, axis in pairs_M3.tolist():
        around[(first, 1, 2) if axis == 0 else (first, 2, 1)] = second
        around[(second, 1, 0) if axis == 0 else (second, 0, 1)] = first
    for row, column in ((0, 0), (0, 2), (2, 0), (2, 2)):
        across, along = around[around[:, row, 1], 1, column], around[around[:, 1, column], row, 1]
        around[:, row, column] = np.where(across == NOBODY, along, across)
    return around[:num]


def _ratio(border: float, inside: float) -> float:
    if inside < 1e-9:
        return 1.0 if border < 1e-9 else float("inf")
    return border / inside
