"""Stain matrices as arithmetic: optical density, Macenko's estimate, concentrations, re-rendering.

Method: Macenko et al., "A method for normalizing histology slides for quantitative analysis",
ISBI 2009. Optical density is the natural logarithm here, -ln(intensity / white level), so stain
vectors are theirs and concentrations are 2.303 times those of their base-10 equation (1).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (..., 3) RGB
Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]  # (2, 3), rows hematoxylin and eosin, unit length

MIN_GLASS, MAX_GLASS_SPREAD, GLASS_DEPTH = 180, 25, 12  # grey levels
MIN_GLASS_PIXELS = 50
SATURATED = 4  # a channel this dark no longer says how much stain there is


def od_table(white_level: NDArray[np.float64]) -> Floats:
    """Optical density (256, 3) of every 8-bit intensity, per channel; negative above glass.

    white_level  (3,) intensity of empty glass
    """
    intensity = np.maximum(np.arange(256.0), 1.0)[:, None]
    return np.asarray(-np.log(intensity / white_level), np.float32)


def optical_density(pixels: Pixels, white_level: NDArray[np.float64]) -> Floats:
    """Optical density (..., 3) of 8-bit pixels (..., 3): Macenko et al. 2009, equation (1)."""
    table = od_table(white_level)[None]
    shape = pixels.shape
    flat = np.ascontiguousarray(pixels).reshape(-1, 1, 3)
    if not len(flat):
        return np.zeros(shape, np.float32)
    return np.asarray(cv2.LUT(flat, table), np.float32).reshape(shape)


def estimate_white(pixels: Pixels) -> NDArray[np.float64] | None:
    """Intensity (3,) of empty glass among pixels (N, 3), or None where there is too little of it.

    Glass is bright and grey; of such pixels the brightest few levels count, so that pale tissue
    does not, and their median is returned.
    """
    brightest, darkest = pixels.max(axis=1), pixels.min(axis=1)
    bright = pixels[(darkest >= MIN_GLASS) & (brightest - darkest <= MAX_GLASS_SPREAD)]
    if len(bright) < MIN_GLASS_PIXELS:
        return None
    level = bright.mean(axis=1)
    glass = bright[level >= np.percentile(level, 95) - GLASS_DEPTH]
    return np.asarray(np.median(glass, axis=0), np.float64)


def is_stained(pixels: Pixels, od: Floats, min_od: float) -> NDArray[np.bool_]:
    """Which pixels (N,) carry stain: neither glass, by mean optical density, nor saturated."""
    is_dark: NDArray[np.bool_] = pixels.min(axis=-1) <= SATURATED
    return np.asarray((od.mean(axis=-1) > min_od) & ~is_dark, np.bool_)


def macenko_matrix(od: Floats, alpha: float, min_angle: float) -> Matrix | None:
    """Stain matrix (2, 3) of stained pixels, or None where they show fewer than two stains.

    od         (N, 3) optical density of stained pixels only
    alpha      percentile taken for the extreme directions, above 0 and below 50
    min_angle  degrees between the two directions below which they count as one stain

    The plane of the two largest singular vectors, then the robust extremes of the angle within
    it: Macenko et al. 2009, algorithm 1, steps 3 to 8. The row with more red absorption is H.
    """
    if len(od) < 3:
        return None
    moments = (od.T @ od).astype(np.float64) / len(od)
    _, vectors = np.linalg.eigh(moments)
    plane = vectors[:, [2, 1]]
    plane[:, 0] *= 1.0 if plane[:, 0].sum() >= 0 else -1.0
    along = od @ plane.astype(np.float32)
    angle = np.arctan2(along[:, 1], along[:, 0])
    extremes = np.percentile(angle, [alpha, 100 - alpha])
    rows = np.stack([np.cos(extremes), np.sin(extremes)], axis=1) @ plane.T
    rows = np.maximum(rows, 0.0)  # a stain absorbs or does not
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(rows).all() or length.min() < 1e-6:
        return None
    rows = rows / length
    if angle_between(rows[0], rows[1]) < min_angle:
        return None
    return np.asarray(rows[np.argsort(-rows[:, 0], kind="stable")], np.float64)


def angle_between(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Angle, in degrees, between two unit vectors."""
    return float(np.degrees(np.arccos(np.clip(one @ other, -1.0, 1.0))))


def concentrations(od: Floats, matrix: Matrix) -> Floats:
    """Amounts (num_pixels, 2) of each stain by least squares, from od (num_pixels, 3).

    Solves od = concentrations @ matrix, the mixture OD = VS of Macenko et al. 2009.
    """
    return np.asarray(od @ np.linalg.pinv(matrix).astype(np.float32), np.float32)


def max_concentrations(amounts: Floats) -> NDArray[np.float64]:
    """The 99th percentile (2,) of concentrations (num_pixels, 2): a maximum without outliers."""
    return np.asarray(np.percentile(amounts, 99, axis=0), np.float64)


def with_residual(matrix: Matrix) -> NDArray[np.float64]:
    """The stain matrix with a third unit row at right angles, for what neither stain explains."""
    third = np.cross(matrix[0], matrix[1])
    return np.vstack([matrix, third / np.linalg.norm(third)])


def rerender_matrix(
    source: Matrix, target: Matrix, gain: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The (3, 3) map of optical density, od_target = od_source @ map, from one style to another.

    gain  (2,) factor on each stain's concentration
    What neither stain explains is carried over at its strength. Equal styles give the identity.
    """
    scale = np.append(gain, 1.0)[:, None]
    return np.asarray(np.linalg.inv(with_residual(source)) @ (scale * with_residual(target)))
