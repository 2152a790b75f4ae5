"""Pixels per division of a stage micrometer, from a picture of it in any direction."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ConfigError
from pathology.slides.reader import Pixels

LEAST_LINES = 4
LEAST_PX = 2  # of an edge: less has no direction
LEAST_MATCH = 0.6  # of the lines with themselves, a division further
OVERTONES = 3
FINE = 2001  # frequencies that are tried around the first guess
NO_RULING = (
    "no ruling is plain to see in the picture. Give a sharp one of a stage micrometer with "
    f"{LEAST_LINES} divisions or more, or a known length: --length-um with --length-px"
)
Signal = NDArray[np.float64]


class Ruling(NamedTuple):
    """Lines of a scale: pixels from one to the next, the direction they follow each other in, in
    degrees, and how alike they are, up to 1.
    """

    division_px: float
    degrees: float
    match: float


def measure_ruling(pixels: Pixels) -> Ruling:
    """The ruling in a picture (H, W, 3). Raises ConfigError where none is plain to see.

    Its direction is that of the strongest wave of the picture; across it, the distance of lines
    is the first at which the profile is like itself, made finer by its overtones.
    """
    if min(pixels.shape[:2]) < LEAST_PX:
        raise ConfigError(NO_RULING)
    lines = _lines(pixels)
    angle = _direction(lines)
    height, width = lines.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), math.degrees(angle), 1.0)
    profile = np.asarray(cv2.warpAffine(lines, turn, (width, height)), np.float64).mean(axis=0)
    profile -= profile.mean()
    lag, match = _first_likeness(profile)
    if lag == 0 or match < LEAST_MATCH or len(profile) / lag < LEAST_LINES:
        raise ConfigError(NO_RULING)
    return Ruling(_finer(profile, lag), math.degrees(angle), match)


def glass_color(pixels: Pixels) -> tuple[float, float, float]:
    """Color of empty glass in a picture that shows little else."""
    red, green, blue = np.median(pixels.reshape(-1, 3)[::7], axis=0).tolist()
    return red, green, blue


def _lines(pixels: Pixels) -> NDArray[np.float32]:
    """Dark lines as positive numbers on a ground of zero."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    ground = cv2.GaussianBlur(grey, (0, 0), max(pixels.shape[:2]) / 20)
    return np.asarray(ground - grey, np.float32)


def _direction(lines: NDArray[np.float32]) -> float:
    """Angle of the strongest wave, from -pi/2 to pi/2."""
    height, width = lines.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    power = np.abs(np.fft.rfft2(lines * window)) ** 2
    v, u = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    power[np.hypot(u, v) < 3 / max(height, width)] = 0
    row, column = np.unravel_index(int(power.argmax()), power.shape)
    if lines.size and power[row, column] <= 0:
        return 0.0
    return math.atan2(float(v[row, 0]), float(u[0, column]))


def _first_likeness(profile: Signal) -> tuple[int, float]:
    """The least shift at which a profile is nearly as like itself as at any, and how like."""
    num = len(profile)
    spectrum = np.fft.rfft(profile, 2 * num)
    likeness = np.fft.irfft(np.abs(spectrum) ** 2)[: num // LEAST_LINES + 1]
    likeness /= max(likeness[0], 1e-12)
    likeness *= num / (num - np.arange(len(likeness)))
    inner = likeness[1:-1]
    peaks = 1 + np.flatnonzero((inner > likeness[:-2]) & (inner >= likeness[2:]))
    if not len(peaks):
        return 0, 0.0
    good = peaks[likeness[peaks] >= 0.7 * likeness[peaks].max()]
    return int(good[0]), float(likeness[good[0]])


def _finer(profile: Signal, lag: int) -> float:
    """The distance of lines to a fraction of a pixel: where fundamental and overtones are most."""
    at = np.arange(len(profile))
    window = np.hanning(len(profile)) * profile
    tried = np.linspace(1 / (lag + 0.6), 1 / (lag - 0.6), FINE)
    power = np.zeros(FINE)
    for overtone in range(1, OVERTONES + 1):
        waves = np.exp(-2j * np.pi * overtone * np.outer(tried, at))
        power += np.abs(waves @ window) ** 2
    return float(1 / tried[power.argmax()])
