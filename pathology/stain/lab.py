"""Colors as CIE L*a*b* and back, for numpy and torch: sRGB (IEC 61966-2-1), white D65.

The same twice: by the array standard, and by OpenCV's functions for 8-bit images, five times as
fast. (OpenCV's own L*a*b* is off by up to a grey level.)
"""

from __future__ import annotations

import cv2
import numpy as np
from array_api_compat import array_namespace

from pathology.stain.arrays import Array, like
from pathology.stain.matrix import Floats, Pixels

# sRGB primaries to CIE XYZ, rows X Y Z, and the white point of D65 at two degrees
RGB_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
WHITE_XYZ = np.array([0.95047, 1.0, 1.08883])
TO_LAB = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
L_OFFSET = -16.0
EDGE, SLOPE, OFFSET = 0.008856, 7.787, 16 / 116  # the linear part near black, CIE 15
BENT_EDGE = SLOPE * EDGE + OFFSET
FROM_RGB = RGB_TO_XYZ / WHITE_XYZ[:, None]
TO_RGB, FROM_LAB = np.linalg.inv(FROM_RGB), np.linalg.inv(TO_LAB)
DARK = 0.0031308  # of linear light: below it sRGB is linear


def rgb_to_lab(colors: Array) -> Array:
    """L* (0 to 100), a*, b* as float32 (..., 3) of intensities (..., 3) from 0 to 255."""
    xp = array_namespace(colors)
    light = xp.astype(colors, xp.float32) / 255
    linear = xp.where(light > 0.04045, ((light + 0.055) / 1.055) ** 2.4, light / 12.92)
    xyz = xp.matmul(linear, like(FROM_RGB.T, linear))
    bent = xp.where(xyz > EDGE, xp.clip(xyz, EDGE, None) ** (1 / 3), SLOPE * xyz + OFFSET)
    return xp.matmul(bent, like(TO_LAB.T, bent)) + like([L_OFFSET, 0, 0], bent)


def lab_to_rgb(lab: Array) -> Array:
    """Intensities (..., 3) from 0 to 255, float32, of L*a*b* (..., 3); clipped to the gamut."""
    xp = array_namespace(lab)
    bent = xp.matmul(lab - like([L_OFFSET, 0, 0], lab), like(FROM_LAB.T, lab))
    xyz = xp.where(bent > BENT_EDGE, bent**3, (bent - OFFSET) / SLOPE)
    linear = xp.clip(xp.matmul(xyz, like(TO_RGB.T, xyz)), 0.0, 1.0)
    curved = 1.055 * xp.clip(linear, DARK, None) ** (1 / 2.4) - 0.055
    return xp.where(linear > DARK, curved, 12.92 * linear) * 255


def transfer_lab(colors: Pixels, scale: Floats, shift: Floats) -> Pixels:
    """8-bit colors (H, W, 3) with L*, a*, b* multiplied by scale (3,) and shift (3,) added."""
    place = cv2.transform(cv2.LUT(colors, _LINEAR), _FINE_FROM_RGB)
    bent = _BENT[np.minimum(place + _HALF, _FINEST).astype(np.uint16)]
    # to L*a*b*, the transfer, and back: one affine map
    offset = scale * [L_OFFSET, 0, 0] + shift - [L_OFFSET, 0, 0]
    affine = np.hstack([FROM_LAB @ (scale[:, None] * TO_LAB), (FROM_LAB @ offset)[:, None]])
    bent = cv2.transform(bent, affine.astype(np.float32))
    line = bent * _ONE_BY_SLOPE - _OFFSET_BY_SLOPE
    xyz = np.where(bent > _BENT_EDGE, bent * bent * bent, line)
    place = cv2.transform(xyz, _FINE_TO_RGB)
    return np.asarray(_CURVED[np.clip(place, 0, _FINEST, out=place).astype(np.uint16)], np.uint8)


def _linear() -> Floats:
    light = np.arange(256.0) / 255
    linear = np.where(light > 0.04045, ((light + 0.055) / 1.055) ** 2.4, light / 12.92)
    return np.repeat(linear[None, :, None], 3, axis=2).astype(np.float32)


# Roots and powers for the fast way, tabulated over 65,536 places from 0 to 1; numbers are float32
# so that nothing is computed in float64.
_FINEST, _HALF = np.float32(65535), np.float32(0.5)
_BENT_EDGE = np.float32(BENT_EDGE)
_ONE_BY_SLOPE, _OFFSET_BY_SLOPE = np.float32(1 / SLOPE), np.float32(OFFSET / SLOPE)
_FINE = np.arange(65536) / 65535
_BENT = np.where(_FINE > EDGE, np.cbrt(_FINE), SLOPE * _FINE + OFFSET).astype(np.float32)
_CURVED = np.where(
    _FINE > DARK, 1.055 * np.maximum(_FINE, DARK) ** (1 / 2.4) - 0.055, 12.92 * _FINE
)
_CURVED = np.rint(255 * _CURVED).astype(np.uint8)
_FINE_FROM_RGB, _FINE_TO_RGB = ((65535 * m).astype(np.float32) for m in (FROM_RGB, TO_RGB))
_LINEAR = _linear()
