"""How far the colors of one set of tiles lie from those of another.

The distance is the sliced 1-Wasserstein distance of tissue pixels in CIE L*a*b* (D65): the mean,
over directions spread evenly in color space, of how far pixels must move along that direction.
It looks at whole distributions and not only at their means, and needs no bins. (Bonneel et al.,
"Sliced and Radon Wasserstein barycenters of measures", JMIV 2015, with power 1.) It is doubled,
because the mean of |cos| over a sphere is one half: colors that all shift by d lie d apart.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.stain.config import StainConfig
from pathology.stain.matrix import (
    Floats,
    Matrix,
    Pixels,
    angle_between,
    estimate_white,
    is_stained,
    macenko_matrix,
    optical_density,
)

USUAL_WHITE = 240.0  # where tiles show no glass
NUM_DIRECTIONS = 64
NUM_QUANTILES = 256
MAX_COLORS = 20_000
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def white_of(tiles_NHW3: Pixels, config: StainConfig) -> NDArray[np.float64]:
    """Intensity (3,) of empty glass: the setting, what the tiles show, or what is usual."""
    if config.white_level is not None:
        return np.full(3, config.white_level)
    found = estimate_white(_sampled(tiles_NHW3, config))
    return np.full(3, USUAL_WHITE) if found is None else found


def stain_matrix_of(tiles_NHW3: Pixels, config: StainConfig) -> Matrix | None:
    """Stain matrix (2, 3) that tiles show, by Macenko, or None where they show no two stains."""
    pixels = _sampled(tiles_NHW3, config)
    od = optical_density(pixels, white_of(tiles_NHW3, config))
    stained = od[is_stained(pixels, od, config.min_od)]
    if len(stained) < config.min_stained_pixels:
        return None
    return macenko_matrix(stained, config.angle_percentile, config.min_angle)


def stain_angles(own: Matrix | None, target: Matrix | None) -> tuple[float, float]:
    """Degrees between the hematoxylin, and the eosin, of two matrices; NaN where one is missing."""
    if own is None or target is None:
        return float("nan"), float("nan")
    return angle_between(own[0], target[0]), angle_between(own[1], target[1])


def tissue_lab(tiles_NHW3: Pixels, config: StainConfig) -> Floats:
    """CIE L*a*b* (n, 3) of the tissue in tiles: glass says nothing of the staining."""
    pixels = _sampled(tiles_NHW3, config)
    od = optical_density(pixels, white_of(tiles_NHW3, config))
    tissue = pixels[od.mean(axis=1) > config.min_od]
    if not len(tissue):
        return np.zeros((0, 3), np.float32)
    scaled = tissue[None].astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0], np.float32)


def color_quantiles(lab: Floats) -> Floats | None:
    """What the distance needs of a set of colors (n, 3): quantiles (256, 64) by direction.

    None for an empty set. Of very many colors every so many are looked at.
    """
    if not len(lab):
        return None
    some = lab[:: max(1, len(lab) // MAX_COLORS)]
    along = np.sort(_directions(NUM_DIRECTIONS) @ some.T, axis=1)
    at = ((np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES * len(some)).astype(np.int64)
    return np.asarray(along[:, at].T, np.float32)


def color_distance(one: Floats | None, other: Floats | None) -> float:
    """Distance, in units of L*a*b*, between two sets of colors given as their quantiles.

    NaN where one set is empty.
    """
    if one is None or other is None:
        return float("nan")
    return float(2 * np.abs(one - other).mean())


def _directions(num: int) -> Floats:
    """Unit vectors (num, 3) spread evenly over a half sphere: Fibonacci's lattice."""
    height = (np.arange(num) + 0.5) / num
    turn = GOLDEN_ANGLE * np.arange(num)
    radius = np.sqrt(1 - height**2)
    rows = [radius * np.cos(turn), radius * np.sin(turn), height]
    return np.stack(rows, axis=1).astype(np.float32)


def _sampled(tiles_NHW3: Pixels, config: StainConfig) -> Pixels:
    """Pixels (n, 3) on an even grid over all tiles, as many as the settings ask for."""
    num = int(np.prod(tiles_NHW3.shape[:3]))
    step = max(1, int(np.ceil(np.sqrt(num / config.num_sample_pixels))))
    first = step // 2
    return np.ascontiguousarray(tiles_NHW3[:, first::step, first::step]).reshape(-1, 3)
