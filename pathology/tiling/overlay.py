"""A picture of what was taken: thumbnail, tissue outline and tiles."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.slides.plan import Pair
from pathology.slides.reader import Pixels, scale_to
from pathology.tiling.grid import Corners
from pathology.tiling.tissue import Mask

KEPT, REJECTED, OUTLINE = (0, 150, 60), (230, 120, 0), (40, 60, 220)
MAX_EDGE, MIN_WIDTH, BANNER = 1600, 480, 22


def draw_overlay(
    thumbnail: Pixels,
    mask: Mask,
    l0_slide: Pair,
    l0_size: Pair,
    kept: Corners,
    rejected: Corners,
    title: str,
) -> NDArray[np.uint8]:
    """RGB picture: kept tiles green, tiles that failed the quality check orange, tissue blue.

    kept, rejected  level-0 corners (N, 2); the thumbnail and mask cover l0_slide (width, height)
    """
    height, width = thumbnail.shape[:2]
    zoom = min(MAX_EDGE / max(height, width), max(1.0, MIN_WIDTH / width))
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    canvas = np.ascontiguousarray(scale_to(thumbnail, size))
    outlines, _ = cv2.findContours(
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST),
        cv2.RETR_LIST,
        cv2.CHAIN_APPROX_SIMPLE,
    )
    cv2.drawContours(canvas, outlines, -1, OUTLINE, 1)
    scale = np.array([size[0] / l0_slide[0], size[1] / l0_slide[1]])
    for corners, color in ((rejected, REJECTED), (kept, KEPT)):
        _frames(canvas, corners, scale, l0_size, color)
    return np.vstack([_banner(size[0], title), canvas])


def _frames(
    canvas: Pixels,
    corners: Corners,
    scale: NDArray[np.float64],
    l0_size: Pair,
    color: tuple[int, int, int],
) -> None:
    low = np.rint(corners * scale).astype(int)
    high = np.rint((corners + np.asarray(l0_size)) * scale).astype(int) - 1
    for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True):
        cv2.rectangle(canvas, (x0, y0), (x1, y1), color, 1)


def _banner(width: int, title: str) -> Pixels:
    """A strip with the title; what OpenCV's font cannot draw becomes a question mark."""
    banner = np.full((BANNER, width, 3), 255, np.uint8)
    text = f"RESEARCH USE ONLY   {title}".encode("ascii", "replace").decode()
    cv2.putText(banner, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return banner
