"""What a tile looks like as a picture: white, black, inked or out of focus."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.tiling.config import QualityConfig
from pathology.tiling.ink import pen_mask

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


def quality_scores(tile: NDArray[np.uint8], config: QualityConfig) -> QualityScores:
    """Scores of a tile (H, W, 3) RGB that was already scaled to judging_px.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000).
    """
    num_pixels = tile.shape[0] * tile.shape[1]
    is_white = cv2.inRange(tile, (config.white_level,) * 3, (255,) * 3)
    is_black = cv2.inRange(tile, (0,) * 3, (config.black_level,) * 3)
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return QualityScores(
        cv2.countNonZero(is_white) / num_pixels,
        cv2.countNonZero(is_black) / num_pixels,
        cv2.countNonZero(pen_mask(tile)) / num_pixels,
        float(deviation[0, 0]) ** 2,
    )


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
