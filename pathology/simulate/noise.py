"""Smooth random fields and small shaping functions, all pure."""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], spacing_px: float) -> FloatArray:
    """Random field with bumps about spacing_px wide, near zero mean and unit deviation.

    shape    (rows, columns) of the field
    returns  float32 of that shape
    """
    rows, columns = (math.ceil(length / spacing_px) + 1 for length in shape)
    lattice = rng.standard_normal((rows, columns), dtype=np.float32) / np.float32(0.7)
    return resize(lattice, (shape[1], shape[0]), cv2.INTER_CUBIC)


def resize(image: NDArray[Any], size: tuple[int, int], how: int = cv2.INTER_LINEAR) -> FloatArray:
    """Image resampled to size (width, height), as float32."""
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.float32)


def blur(image: NDArray[Any], sigma_px: float) -> FloatArray:
    """Gaussian blur; a wide one is done at a quarter of the size, a negligible one not at all."""
    if sigma_px < 0.05:
        return np.asarray(image, dtype=np.float32)
    if sigma_px >= 12:
        rows, columns = image.shape[:2]
        small = resize(image, (max(1, columns // 4), max(1, rows // 4)), cv2.INTER_AREA)
        return resize(blur(small, sigma_px / 4), (columns, rows))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), dtype=np.float32)


def ramp(values: FloatArray, low: float, high: float) -> FloatArray:
    """Linear climb from 0 at low to 1 at high, flat outside."""
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)
