"""What a tile looks like as a picture: white, black, inked or out of focus."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.tiling.config import QualityConfig
from pathology.tiling.ink import pen_mask

LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
SAMPLE_PX = 32
VERDICTS = ("white", "black", "pen", "blur")  # in the order they are asked


class QualityScores(NamedTuple):
    """Measures of one tile; fractions from 0 to 1, sharpness in squared grey levels."""

    white_fraction: float
    black_fraction: float
    pen_fraction: float
    sharpness: float


def judging_px(size_px: int, mpp: float, config: QualityConfig) -> int:
    """Edge, in pixels, at which a tile of size_px at mpp is judged; never larger than the tile."""
    return max(1, min(size_px, round(size_px * mpp / config.mpp)))


class Look(NamedTuple):
    """What is looked at of a tile.

    grey    (H, W) of the whole tile
    sample  (h, w, 3) RGB: every so many of its pixels, fewer than 64 a side
    """

    grey: NDArray[np.uint8]
    sample: NDArray[np.uint8]


def look_at(tile: NDArray[np.uint8]) -> Look:
    """The look of a tile (H, W, 3) RGB."""
    size = (min(SAMPLE_PX, tile.shape[1]), min(SAMPLE_PX, tile.shape[0]))
    sample = cv2.resize(tile, size, interpolation=cv2.INTER_NEAREST)
    return Look(_bytes(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)), _bytes(sample))


def look_at_planes(planes: NDArray[np.uint8]) -> Look:
    """The look of a tile given as Y, Cb and Cr planes (3, H, W)."""
    step_y, step_x = (max(1, size // SAMPLE_PX) for size in planes.shape[1:])
    few = planes[(0, 2, 1), ::step_y, ::step_x].transpose(1, 2, 0)
    sample = cv2.cvtColor(np.ascontiguousarray(few), cv2.COLOR_YCrCb2RGB)
    return Look(planes[0], _bytes(sample))


def quality_scores(look: Look, judged_px: int, config: QualityConfig) -> QualityScores:
    """Scores of a tile, its fractions counted on the sample.

    judged_px  edge of the tile at the resolution of judging, from judging_px
    """
    num_pixels = look.sample.shape[0] * look.sample.shape[1]
    is_white = cv2.inRange(look.sample, (config.white_level,) * 3, (255,) * 3)
    is_black = cv2.inRange(look.sample, (0,) * 3, (config.black_level,) * 3)
    return QualityScores(
        cv2.countNonZero(is_white) / num_pixels,
        cv2.countNonZero(is_black) / num_pixels,
        cv2.countNonZero(pen_mask(look.sample)) / num_pixels,
        sharpness(look.grey, judged_px),
    )


def sharpness(grey: NDArray[np.uint8], judged_px: int) -> float:
    """Variance of the Laplacian of a grey tile (H, W), scaled to judged_px pixels a side.

    Pech-Pacheco et al., ICPR 2000.
    """
    if judged_px != grey.shape[0]:
        grey = _bytes(cv2.resize(grey, (judged_px, judged_px), interpolation=cv2.INTER_AREA))
    edges = cv2.filter2D(grey, cv2.CV_16S, LAPLACIAN)
    mean = cv2.sumElems(edges)[0] / edges.size
    return cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean**2


def verdict(scores: QualityScores, config: QualityConfig) -> str | None:
    """The first of VERDICTS that holds for a tile, or None for one that is kept."""
    if scores.white_fraction > config.max_white_fraction:
        return "white"
    if scores.black_fraction > config.max_black_fraction:
        return "black"
    if scores.pen_fraction > config.max_pen_fraction:
        return "pen"
    if scores.sharpness < config.min_sharpness:
        return "blur"
    return None


def _bytes(values: object) -> NDArray[np.uint8]:
    return np.asarray(values, np.uint8)
