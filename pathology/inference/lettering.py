"""Text on pictures, in Pillow's own typeface, on a dark plate that reads on any tissue."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pathology.slides.reader import Pixels

Color = tuple[int, int, int]
WHITE: Color = (255, 255, 255)
PLATE_SHADE = 0.25  # of the picture that shines through


@lru_cache(maxsize=64)
def lettered(text: str, size_px: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Text as a mask (H, W), 255 where ink is, with a margin around."""
    font = ImageFont.load_default(size_px)
    left, top, right, bottom = font.getbbox(text)
    pad = size_px // 3
    ascent = size_px  # plates of one size of text have one height
    size = (int(right - left) + 2 * pad, max(ascent, int(bottom - top)) + 2 * pad)
    image = Image.new("L", size)
    ImageDraw.Draw(image).text((pad - left, size[1] / 2), text, fill=255, font=font, anchor="lm")
    return np.asarray(image, np.uint8)


def put_text(
    canvas: Pixels, text: str, xy: tuple[int, int], size_px: int, color: Color = WHITE, *,
    anchor: str = "lt",
) -> tuple[int, int]:  # fmt: skip
    """Write on a canvas (H, W, 3) in place; what sticks out is cut off. Gives (width, height).

    xy, anchor  a corner of the plate, and which: l or r, then t or b
    """
    ink = lettered(text, size_px)
    height, width = ink.shape
    x = xy[0] - (width if anchor[0] == "r" else 0)
    y = xy[1] - (height if anchor[1] == "b" else 0)
    x0, y0 = max(0, x), max(0, y)
    part = canvas[y0 : max(0, y + height), x0 : max(0, x + width)]
    if part.size:
        shown = ink[y0 - y : y0 - y + part.shape[0], x0 - x : x0 - x + part.shape[1]]
        share = cv2.merge([shown, shown, shown]).astype(np.float32) / 255
        dark = part * np.float32(PLATE_SHADE)
        part[:] = (dark + share * (np.asarray(color, np.float32) - dark)).astype(np.uint8)
    return width, height
