"""Stain matrices as arithmetic: optical density, Macenko's estimate, concentrations, re-rendering.

Method: Macenko et al., "A method for normalizing histology slides for quantitative analysis",
ISBI 2009. Optical density is the natural logarithm here, -ln(intensity / white level), so stain
vectors are theirs and concentrations are 2.303 times those of their base-10 equation (1).

Functions of groups (letters in arrays.py) take numpy arrays or torch tensors.
"""

from __future__ import annotations

import cv2
import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from pathology.stain.arrays import (
    Array,
    as_floats,
    masked_mean,
    masked_percentiles,
    num_counted,
)
from pathology.stain.tissue import depth_of, glass_levels, stained

Pixels = NDArray[np.uint8]  # (..., 3) RGB
Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]  # (2, 3), rows hematoxylin and eosin, unit length
UNIT_TOLERANCE, LEAST_SINE = 1e-2, 1e-2  # of a stain's length, and between two of them


def are_stains(matrix_N23: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which matrices (N,) are two stains: finite unit vectors that differ."""
    rows = np.nan_to_num(np.asarray(matrix_N23, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    is_unit = np.abs(np.linalg.norm(rows, axis=2) - 1).max(axis=1) <= UNIT_TOLERANCE
    is_apart = np.linalg.norm(np.cross(rows[:, 0], rows[:, 1]), axis=1) >= LEAST_SINE
    return np.asarray(is_unit & is_apart & np.isfinite(matrix_N23).all(axis=(1, 2)), np.bool_)


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
    level_13, is_found_1 = glass_levels(pixels[None])
    return np.asarray(level_13[0], np.float64) if is_found_1[0] else None


def is_stained(pixels: Pixels, od: Floats, min_od: float) -> NDArray[np.bool_]:
    """Which pixels (N,) carry stain: neither glass, by mean optical density, nor saturated."""
    return np.asarray(stained(pixels, depth_of(od), min_od), np.bool_)


def macenko_matrix(od: Floats, alpha: float, min_angle: float) -> Matrix | None:
    """Stain matrix (2, 3) of stained pixels, or None where they show fewer than two stains.

    od         (N, 3) optical density of stained pixels only
    alpha      percentile taken for the extreme directions, above 0 and below 50
    min_angle  degrees between the two directions below which they count as one stain

    The row with more red absorption is H.
    """
    every = np.ones((1, len(od)), np.bool_)
    matrix_123 = stain_matrices(od[None], every, alpha)
    return np.asarray(matrix_123[0]) if angles(matrix_123)[0] >= min_angle else None


def stain_matrices(
    od_GP3: Array, is_stained_GP: Array, alpha: float, *, is_centered: bool = False
) -> Array:
    """Stain matrix (G, 2, 3), float64, of each group's stained pixels; zeros where there is none.

    alpha        percentile taken for the extreme directions, above 0 and below 50
    is_centered  find the plane by the covariance, as torchstain and TIAToolbox do; the paper's
                 singular vectors, the default, are those of uncentered densities

    The plane of the two largest singular vectors, then the robust extremes of the angle within
    it: Macenko et al. 2009, algorithm 1, steps 3 to 8. The row with more red absorption is H.
    """
    xp = array_namespace(od_GP3)
    od = xp.astype(xp.where(is_stained_GP[..., None], od_GP3, 0.0), xp.float64)
    number = xp.astype(xp.clip(num_counted(is_stained_GP), 1, None), xp.float64)[:, None, None]
    moments = xp.matmul(xp.permute_dims(od, (0, 2, 1)), od) / number
    if is_centered:
        mean = xp.astype(masked_mean(od_GP3, is_stained_GP), xp.float64)
        moments = moments - mean[:, :, None] * mean[:, None, :]
    _, vectors = xp.linalg.eigh(moments)
    first = vectors[:, :, 2]
    first = xp.where(xp.sum(first, axis=1)[:, None] >= 0, first, -first)
    plane_G32 = xp.stack([first, vectors[:, :, 1]], axis=2)
    along = xp.matmul(od_GP3, as_floats(plane_G32))
    angle = xp.atan2(along[..., 1], along[..., 0])
    extremes = xp.astype(masked_percentiles(angle, is_stained_GP, [alpha, 100 - alpha]), xp.float64)
    directions_G22 = xp.stack([xp.cos(extremes), xp.sin(extremes)], axis=2)
    return h_first(unit_rows(xp.matmul(directions_G22, xp.permute_dims(plane_G32, (0, 2, 1)))))


def unit_rows(rows: Array) -> Array:
    """Stain vectors (..., 2, 3) of unit length; a stain absorbs or does not, so none is negative.

    A row with no absorption at all becomes zero.
    """
    xp = array_namespace(rows)
    rows = xp.clip(rows, 0.0, None)
    return rows / xp.clip(xp.sqrt(xp.sum(rows**2, axis=-1, keepdims=True)), 1e-6, None)


def h_first(matrix_G23: Array) -> Array:
    """The rows in order: the one with more red absorption, hematoxylin, first."""
    xp = array_namespace(matrix_G23)
    is_ordered = (matrix_G23[:, 0, 0] >= matrix_G23[:, 1, 0])[:, None, None]
    return xp.where(is_ordered, matrix_G23, xp.flip(matrix_G23, axis=1))


def angles(matrix_G23: Array) -> Array:
    """Degrees (G,) between the two rows of unit length; 0 where a row is zero."""
    xp = array_namespace(matrix_G23)
    is_whole = xp.all(xp.sum(matrix_G23**2, axis=-1) > 0.5, axis=-1)
    cosine = xp.clip(xp.sum(matrix_G23[:, 0] * matrix_G23[:, 1], axis=-1), -1.0, 1.0)
    return xp.where(is_whole, xp.acos(cosine) * (180 / np.pi), 0.0)


def angle_between(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Angle, in degrees, between two unit vectors."""
    return float(np.degrees(np.arccos(np.clip(one @ other, -1.0, 1.0))))


def concentrations(od: Array, matrix: Array) -> Array:
    """Amounts (..., P, 2) of each stain by least squares, from od (..., P, 3), as float32.

    Solves od = concentrations @ matrix, the mixture OD = VS of Macenko et al. 2009.
    """
    xp = array_namespace(od)
    return xp.matmul(od, as_floats(xp.linalg.pinv(matrix)))


def with_residual(matrix: Array) -> Array:
    """The stain matrix (..., 2, 3) with a third unit row at right angles to both.

    It stands for what neither stain explains.
    """
    xp = array_namespace(matrix)
    third = xp.linalg.cross(matrix[..., 0, :], matrix[..., 1, :])
    third = third / xp.sqrt(xp.sum(third**2, axis=-1, keepdims=True))
    return xp.concat([matrix, third[..., None, :]], axis=-2)


def rerender_matrix(
    source: Array, target: Array, gain: Array, residual: Array | float = 1.0
) -> Array:
    """The (..., 3, 3) map of optical density, od_target = od_source @ map, between two styles.

    gain      (..., 2) factor on each stain's concentration
    residual  factor on what neither stain explains; 1 carries it over, and then equal styles give
              the identity
    """
    xp = array_namespace(source)
    rest = residual * xp.ones_like(gain[..., :1])
    scale = xp.concat([gain, rest], axis=-1)[..., None]
    return xp.matmul(xp.linalg.inv(with_residual(source)), scale * with_residual(target))
