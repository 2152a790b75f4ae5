"""What is glass and what is stained, for groups of pixels of numpy or torch."""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import array_namespace

from pathology.stain.arrays import (
    Array,
    as_floats,
    like,
    masked_mean,
    masked_percentiles,
    num_counted,
)
from pathology.stain.config import StainConfig

MIN_GLASS, MAX_GLASS_SPREAD, GLASS_DEPTH = 180, 25, 12  # grey levels
MIN_GLASS_PIXELS = 50
USUAL_WHITE = 240.0  # where a slide shows no glass
SATURATED = 4  # a channel this dark no longer says how much stain there is
GLASS_SHARE = 1 / 3  # of min_od: below it a pixel is glass and stays as it is
BLACK_OD = 3.0
MIN_SPREAD = 3.0  # grey levels between the channels, on average, below which there is no color


class Tissue(NamedTuple):
    """Pixels of slides or tiles, looked at.

    colors_GP3      8-bit colors
    od_GP3          optical density, float32
    depth_GP        its mean over the channels
    white_G3        intensity of empty glass
    is_stained_GP   carries stain that can be measured: neither glass nor saturated
    """

    colors_GP3: Array
    od_GP3: Array
    depth_GP: Array
    white_G3: Array
    is_stained_GP: Array


def look_at(colors_GP3: Array, config: StainConfig, white_G3: Array | None = None) -> Tissue:
    """Groups of 8-bit pixels with what shows on them.

    white_G3  intensity of their glass where that is known already
    """
    if white_G3 is None:
        white_G3 = white_levels(colors_GP3, config.white_level)
    od_GP3 = od_of(colors_GP3, white_G3)
    depth_GP = depth_of(od_GP3)
    is_stained_GP = stained(colors_GP3, depth_GP, config.min_od)
    return Tissue(colors_GP3, od_GP3, depth_GP, white_G3, is_stained_GP)


def has_color(tissue: Tissue) -> Array:
    """Which groups (G,) show color where they are stained: grey images do not."""
    brightest, darkest = _extremes(tissue.colors_GP3)
    spread_GP1 = as_floats(brightest - darkest)[..., None]
    return masked_mean(spread_GP1, tissue.is_stained_GP)[:, 0] >= MIN_SPREAD


def od_of(colors_GP3: Array, white_G3: Array) -> Array:
    """Optical density -ln(intensity / white) of intensities: Macenko et al. 2009, equation (1).

    colors_GP3  intensities of any type; what is below 1 counts as 1
    """
    xp = array_namespace(colors_GP3)
    light = xp.clip(as_floats(colors_GP3), 1.0, None)
    return -xp.log(light / white_G3[:, None, :])


def depth_of(od_GP3: Array) -> Array:
    """Mean optical density (G, P) of the three channels."""
    return (od_GP3[..., 0] + od_GP3[..., 1] + od_GP3[..., 2]) / 3


def stained(colors_GP3: Array, depth_GP: Array, min_od: float) -> Array:
    """Which pixels (G, P) carry stain that can be measured: neither glass nor saturated."""
    _, darkest = _extremes(colors_GP3)
    return (depth_GP > min_od) & (darkest > SATURATED)


def repainted(tissue: Tissue, painted_GP3: Array, min_od: float) -> Array:
    """New 8-bit colors where there is stain, the old ones on glass, and no edge in between.

    painted_GP3  the new colors of all pixels, as intensities that may exceed 0 to 255
    """
    xp = array_namespace(painted_GP3)
    low = GLASS_SHARE * min_od
    weight = xp.clip((tissue.depth_GP - low) / (min_od - low), 0.0, 1.0)[..., None]
    old = as_floats(tissue.colors_GP3)
    new = xp.clip(painted_GP3, 0.0, 255.0)
    return xp.astype(xp.round(old + weight * (new - old)), xp.uint8)


def num_rendered(depth_NP: Array, min_od: float) -> Array:
    """How many pixels (N,) of each tile carry stain, be they saturated; black is no stain."""
    return num_counted((depth_NP > min_od) & (depth_NP < BLACK_OD))


def white_levels(colors_GP3: Array, white_level: float | None = None) -> Array:
    """Intensity (G, 3) of empty glass: as told, else as measured, else what is usual."""
    xp = array_namespace(colors_GP3)
    told = USUAL_WHITE if white_level is None else white_level
    told_G3 = like([[told] * 3] * len(colors_GP3), colors_GP3)
    if white_level is not None:
        return told_G3
    level_G3, is_found_G = glass_levels(colors_GP3)
    return xp.where(is_found_G[:, None], level_G3, told_G3)


def glass_levels(colors_GP3: Array) -> tuple[Array, Array]:
    """Intensity (G, 3) of empty glass, and whether (G,) enough of it was seen to tell.

    Glass is bright and grey; of such pixels the brightest few levels count, so that pale tissue
    does not, and their median is returned.
    """
    xp = array_namespace(colors_GP3)
    brightest, darkest = _extremes(colors_GP3)
    is_bright = (darkest >= MIN_GLASS) & (brightest - darkest <= MAX_GLASS_SPREAD)
    light = as_floats(colors_GP3)
    level = depth_of(light)
    highest = masked_percentiles(level, is_bright, [95])
    is_glass = is_bright & (level >= highest - GLASS_DEPTH)
    medians = [masked_percentiles(light[..., c], is_glass, [50]) for c in range(3)]
    return xp.concat(medians, axis=1), num_counted(is_bright) >= MIN_GLASS_PIXELS


def _extremes(colors_GP3: Array) -> tuple[Array, Array]:
    """The brightest and the darkest channel (G, P) of every pixel."""
    xp = array_namespace(colors_GP3)
    r, g, b = (colors_GP3[..., c] for c in range(3))
    return xp.maximum(xp.maximum(r, g), b), xp.minimum(xp.minimum(r, g), b)
