"""What all contenders share: which squares of the slide, and what their pixels should be."""

from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray

TISSUE_SATURATION = 20  # of 255, mean over a square
NUM_COMPARED = 100
PEAK = 255.0


@dataclass(frozen=True)
class Agreement:
    """Peak signal-to-noise ratio of stored tiles against averaged level-0 pixels, in decibels."""

    num_tiles: int
    mean_db: float
    min_db: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def l0_size(slide_path: Path, size_px: int, mpp: float) -> int:
    """Edge of a tile in level-0 pixels."""
    with openslide.OpenSlide(slide_path) as slide:
        slide_mpp = float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
    return round(size_px * mpp / slide_mpp)


def saturated_corners(slide_path: Path, edge: int) -> NDArray[np.int64]:
    """Corners (N, 2) of grid squares that are colored: stands in for a tissue finder."""
    with openslide.OpenSlide(slide_path) as slide:
        width, height = slide.dimensions
        level = slide.get_best_level_for_downsample(16)
        thumbnail = slide.read_region((0, 0), level, slide.level_dimensions[level])
    saturation = np.asarray(thumbnail.convert("RGB").convert("HSV"))[..., 1]
    columns, rows = width // edge, height // edge
    scale = saturation.shape[1] / width
    saturation = saturation[: round(rows * edge * scale), : round(columns * edge * scale)]
    mean = cv2.resize(saturation, (columns, rows), interpolation=cv2.INTER_AREA)
    row, column = np.nonzero(mean > TISSUE_SATURATION)
    return np.stack([column, row], axis=1).astype(np.int64) * edge


def averaged(
    slide: openslide.OpenSlide, l0_xy: tuple[int, int], edge: int, size_px: int
) -> NDArray[np.float32]:
    """A square's level-0 pixels averaged over areas, (size_px, size_px, 3), not rounded."""
    region = np.asarray(slide.read_region(l0_xy, 0, (edge, edge)))[..., :3].astype(np.float32)
    return cv2.resize(region, (size_px, size_px), interpolation=cv2.INTER_AREA)


def psnr_db(tile: NDArray[np.uint8], truth: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio of 8-bit pixels, infinite where they are equal."""
    error = float(np.mean((tile.astype(np.float64) - truth) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(PEAK**2 / error))


def spread(length: int, count: int = NUM_COMPARED) -> NDArray[np.int64]:
    """Up to count row numbers, evenly over all rows.

    >>> spread(10, 3).tolist()
    [0, 4, 9]
    """
    return np.linspace(0, length - 1, min(count, length)).astype(np.int64)
