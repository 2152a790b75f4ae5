"""A microscope's stage and optics, fast enough for a live stream: it pans, rests and refocuses.

What `microscope` does to one frame with care is done here to many: the fall-off of light and the
color cast are one map, and the sensor's noise one field that is shifted from frame to frame.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.simulate.microscope import MicroscopeConfig, vignette
from pathology.simulate.noise import blur

PAN_S, REST_S = 2.0, 2.0  # the stage moves for a while and rests for a while
REFOCUS_S, BLURRED_S = 20.0, 3.0  # every so often it is out of focus for so long
WORST_UM = 4.0  # deviation of the blur in the midst of that


def stage_at(seconds: float, room: tuple[int, int], speed_px: float) -> tuple[int, int]:
    """Top left corner of the field, after so many seconds, within room = (width, height).

    speed_px  pixels a second while it pans; it goes to and fro along two sides of unlike periods,
              so that in time it comes by everywhere
    """
    turns, rest = divmod(seconds, PAN_S + REST_S)
    moved = (turns * PAN_S + min(rest, PAN_S)) * speed_px
    x, y = room[0] / 2 + moved, room[1] / 2 + 0.618 * moved  # it begins in the middle
    return _to_and_fro(x, room[0]), _to_and_fro(y, room[1])


def defocus_at(seconds: float) -> float:
    """Deviation of the blur in um: none, but for a while now and then."""
    into = seconds % REFOCUS_S - (REFOCUS_S - BLURRED_S)
    return WORST_UM * math.sin(math.pi * into / BLURRED_S) if into > 0 else 0.0


def _to_and_fro(way: float, room: int) -> int:
    return round(room - abs(way % (2 * room) - room)) if room > 0 else 0


class LiveOptics:
    """What the camera makes of a field of fixed size."""

    def __init__(self, config: MicroscopeConfig, seed: int = 0) -> None:
        self.config = config
        width, height = config.size_px
        rng = np.random.default_rng([seed, 5])
        falloff = vignette((height, width), config.vignetting)
        balance = np.asarray(config.white_balance, np.float32)
        self._gain = np.ascontiguousarray(falloff[..., None] * balance)
        noise = rng.standard_normal((height + 64, width + 64, 3), dtype=np.float32)
        self._noise = np.rint(noise * config.noise).astype(np.int16)
        self._rng = rng

    def expose(self, rgb: NDArray[np.uint8], defocus_um: float) -> NDArray[np.uint8]:
        """The frame of a field (H, W, 3), blurred by that deviation."""
        height, width = rgb.shape[:2]
        seen = np.asarray(rgb)
        if defocus_um > 0:
            seen = blur(rgb, defocus_um / self.config.mpp).astype(np.uint8)
        light = cv2.multiply(seen, self._gain, dtype=cv2.CV_16S)
        x, y = self._rng.integers(0, 64, 2).tolist()
        light = cv2.add(light, self._noise[y : y + height, x : x + width])
        return np.clip(light, 0, 255).astype(np.uint8)
