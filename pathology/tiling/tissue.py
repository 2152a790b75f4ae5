"""Where the tissue is: a boolean mask in the thumbnail's plane."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.tiling.config import TissueConfig
from pathology.tiling.ink import pen_mask

Mask = NDArray[np.bool_]
CHROMA_FLOOR, CHROMA_CEILING = 10, 40  # Otsu's threshold is kept in here: see otsu_mask
MAX_TINT = 0.15  # a light source tints glass by less than this
MIN_GLASS = 190  # glass is brighter than this in its darkest channel
TINT_STEP = 4  # every fourth pixel each way is enough to know the glass


def tissue_mask(thumbnail: NDArray[np.uint8], mpp: float, config: TissueConfig) -> Mask:
    """Tissue in an RGB thumbnail (H, W, 3), as (H, W).

    mpp  the thumbnail's microns per pixel, so that specks and holes are measured in um2
    """
    if config.method == "none":
        return np.ones(thumbnail.shape[:2], np.bool_)
    smooth = np.asarray(cv2.medianBlur(without_tint(thumbnail), 3), np.uint8)
    mask = otsu_mask(smooth) if config.method == "otsu" else hsv_mask(smooth, config)
    if config.exclude_pen:
        ink = cv2.dilate(pen_mask(thumbnail), np.ones((3, 3), np.uint8))
        mask &= ink == 0
    mask = without_small(mask, round(config.min_object_um2 / mpp**2))
    return ~without_small(~mask, round(config.max_hole_um2 / mpp**2))


def otsu_mask(rgb: NDArray[np.uint8]) -> Mask:
    """Pixels more colourful (largest minus smallest channel) than Otsu's threshold.

    Otsu (1979) always finds two classes. The threshold is therefore kept between 10 and 40: a
    slide of bare glass then gives nothing, and one covered by tissue gives everything.
    """
    red, green, blue = cv2.split(rgb)
    chroma = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    threshold, _ = cv2.threshold(chroma, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(chroma > np.clip(threshold, CHROMA_FLOOR, CHROMA_CEILING), np.bool_)


def hsv_mask(rgb: NDArray[np.uint8], config: TissueConfig) -> Mask:
    """Pixels saturated and dark enough by the configured thresholds."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    is_coloured = hsv[..., 1] >= config.min_saturation * 255
    return np.asarray(is_coloured & (hsv[..., 2] <= config.max_value * 255), np.bool_)


def without_tint(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with its glass made grey, where bright pixels show a slight tint of the light."""
    sample = rgb[::TINT_STEP, ::TINT_STEP].reshape(-1, 3)
    darkest = sample.min(axis=1)
    bright = sample[darkest > MIN_GLASS]
    if len(bright) < 0.01 * len(sample):
        return rgb
    glass = np.median(bright[bright.min(axis=1) >= np.median(bright.min(axis=1))], axis=0)
    if glass.min() < (1 - MAX_TINT) * glass.max():
        return rgb
    values = np.arange(256)[:, None] * (glass.max() / glass)
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(rgb, table[None]), np.uint8)


def without_small(mask: Mask, min_pixels: int) -> Mask:
    """The mask without its 8-connected components of fewer than min_pixels pixels."""
    if min_pixels <= 1:
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    is_large = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    is_large[0] = False
    return np.asarray(is_large[labels], np.bool_)
