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


def quality_scores(tile: NDArray[np.uint8], judged_px: int, config: QualityConfig) -> QualityScores:
    """Scores of a tile (H, W, 3) RGB.

    judged_px  edge of the tile at the resolution of judging, from judging_px; sharpness is taken
               there, as the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000)

    The fractions are counted on a grid of at most 32 x 32 of the tile's pixels.
    """
    sample = cv2.resize(
        tile,
        (min(SAMPLE_PX, tile.shape[1]), min(SAMPLE_PX, tile.shape[0])),
        interpolation=cv2.INTER_NEAREST,
    )
    num_pixels = sample.shape[0] * sample.shape[1]
    is_white = cv2.inRange(sample, (config.white_level,) * 3, (255,) * 3)
    is_black = cv2.inRange(sample, (0,) * 3, (config.black_level,) * 3)
    return QualityScores(
        cv2.countNonZero(is_white) / num_pixels,
        cv2.countNonZero(is_black) / num_pixels,
        cv2.countNonZero(pen_mask(np.asarray(sample, np.uint8))) / num_pixels,
        sharpness(tile, judged_px),
    )


def sharpness(tile: NDArray[np.uint8], judged_px: int) -> float:
    """Variance of the Laplacian of the grey tile, scaled to judged_px pixels a side."""
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    if judged_px != tile.shape[0]:
        grey = cv2.resize(grey, (judged_px, judged_px), interpolation=cv2.INTER_AREA)
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
