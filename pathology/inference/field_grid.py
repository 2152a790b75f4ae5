"""Where the tiles of a camera's field lie, in which order they are graded, and whether it moved."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.int64]
Grey = NDArray[np.uint8]
LEAST_LIKENESS = 0.6  # of one field found in another


class FieldPlan(NamedTuple):
    """How a frame is cut.

    size_px  (width, height) of the field at the model's mpp
    xy       corners (N, 2) of its tiles in those pixels
    scale    pixels of the frame per pixel of the field
    """

    size_px: tuple[int, int]
    xy: Corners
    scale: float


def plan_field(frame_px: tuple[int, int], mpp: float, tile_px: int, tile_mpp: float) -> FieldPlan:
    """Tiles that cover a frame (width, height) at mpp, as few as can, evenly spread.

    Neighbors overlap by what is left over. A field smaller than a tile has none.

    >>> plan_field((1000, 500), 0.5, 250, 0.5).xy.tolist()[:3]
    [[0, 0], [250, 0], [500, 0]]
    """
    scale = tile_mpp / mpp
    width, height = (max(1, round(side / scale)) for side in frame_px)
    if width < tile_px or height < tile_px:
        return FieldPlan((width, height), np.zeros((0, 2), np.int64), scale)
    x, y = (np.array(spread(side, tile_px), np.int64) for side in (width, height))
    xy = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return FieldPlan((width, height), xy, scale)


def spread(side: int, edge: int) -> list[int]:
    """Where the fewest squares begin that cover a side, evenly.

    >>> spread(600, 250)
    [0, 175, 350]
    """
    num = math.ceil(side / edge)
    return [0] if num == 1 else [round(i * (side - edge) / (num - 1)) for i in range(num)]


def by_distance(plan: FieldPlan, tile_px: int) -> NDArray[np.int64]:
    """Numbers of the tiles, those in the middle of the field first."""
    middle = (np.asarray(plan.size_px) - tile_px) / 2
    far = np.square(plan.xy - middle).sum(axis=1)
    return np.argsort(far, kind="stable")


def whose_turn(
    wanted: NDArray[np.bool_], age: NDArray[np.int64], order: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Tiles to be graded now: at most so many of the wanted, those longest ungraded first.

    age    frames since each was graded on this field
    order  among equals
    """
    chosen = order[wanted[order]]
    return chosen[np.argsort(-age[chosen], kind="stable")][:most]


def shift_between(one: Grey, other: Grey) -> float | None:
    """Pixels that the picture moved between two grey thumbnails of one shape; None: no telling.

    By phase correlation (Kuglin and Hines, 1975); what the two then share must be alike.
    """
    if one.shape != other.shape or min(one.shape) < 2:
        return None
    window = cv2.createHanningWindow((one.shape[1], one.shape[0]), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(one.astype(np.float32), other.astype(np.float32), window)
    shared = _shared(one, other, round(x), round(y))
    return math.hypot(x, y) if likeness(*shared) >= LEAST_LIKENESS else None


def likeness(one: Grey, other: Grey) -> float:
    """Correlation of two pictures of one shape; 0 where either shows nothing."""
    a, b = (part.astype(np.float64) - part.mean() for part in (one, other))
    size = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def _shared(one: Grey, other: Grey, x: int, y: int) -> tuple[Grey, Grey]:
    """The parts of two pictures that show the same, if other is one moved by (x, y)."""
    rows, columns = one.shape
    if abs(x) >= columns or abs(y) >= rows:
        return one[:0], other[:0]
    here = one[max(0, -y) : rows - max(0, y), max(0, -x) : columns - max(0, x)]
    there = other[max(0, y) : rows + min(0, y), max(0, x) : columns + min(0, x)]
    return here, there
