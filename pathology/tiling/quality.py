"""What a tile looks like as a picture: white, black, inked or out of focus."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pathology.core.config import StageConfig
from pathology.tiling.ink import pen_mask

VERDICTS = ("white", "black", "pen", "blur")  # in the order they are asked


class QualityConfig(StageConfig):
    """Limits beyond which a tile is left out; each is counted under its own name.

    mpp                 resolution at which tiles are judged, so that limits hold for any tile
    max_white_fraction  of pixels whose darkest channel is at least white_level
    max_black_fraction  of pixels whose brightest channel is at most black_level
    max_pen_fraction    of pixels that show ink
    min_sharpness       variance of the Laplacian of the grey image (8-bit values); blurred below.
                        At 1 um/px sharp H&E of five sources measured 190 and more, the same
                        defocused by 1 um (sigma) 33-390, by 2 um 5-35, by 3 um 2-8
    """

    mpp: float = Field(default=1.0, gt=0, le=100)
    max_white_fraction: float = Field(default=0.9, ge=0, le=1)
    max_black_fraction: float = Field(default=0.5, ge=0, le=1)
    max_pen_fraction: float = Field(default=0.1, ge=0, le=1)
    min_sharpness: float = Field(default=25.0, ge=0)
    white_level: int = Field(default=215, ge=0, le=255)
    black_level: int = Field(default=35, ge=0, le=255)


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
