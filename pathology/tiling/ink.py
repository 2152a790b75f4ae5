"""Ink seen in colour: pen strokes as boolean maps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# OpenCV's 8-bit HSV: hue 0-179 (half degrees), saturation and value 0-255. Haematoxylin lies at
# hue 114-150, eosin at 150-175: ink is what is well saturated outside of them, or dark and grey.
# Blue ink on a real slide measured hue 106-119 at saturation 130-190, the bluest haematoxylin of
# the simulated centres 114-121 at 110-137: the limits lie between.
INKS = {
    "green": ((35, 70, 30), (92, 255, 230)),
    "blue": ((93, 125, 30), (115, 255, 255)),
    "yellow": ((18, 130, 90), (34, 255, 255)),
    "black": ((0, 0, 0), (179, 100, 70)),
}
RANGES = tuple((np.array(low, np.uint8), np.array(high, np.uint8)) for low, high in INKS.values())


def pen_mask(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where (H, W, 3) RGB shows green, blue, yellow or black marker, else 0, (H, W).

    Red markers are not told from eosin and blood by colour alone and are left to the user's mask.
    """
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    mask = cv2.inRange(hsv, *RANGES[0])
    for low, high in RANGES[1:]:
        cv2.bitwise_or(mask, cv2.inRange(hsv, low, high), dst=mask)
    return np.asarray(mask, np.uint8)
