"""Nuclei counted before and after a change of color: what was lost, and what was invented.

The amount of hematoxylin is taken out of each picture with the picture's own stain matrix, so that
another color, or a stronger stain, alone does not change the count. A nucleus is then a blob of a
nucleus' size: a maximum of the negative Laplacian of a Gaussian (Lindeberg, "Feature detection
with automatic scale selection", IJCV 1998, at one scale) that stands out against the slide.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.stain.matrix import Floats, Matrix, Pixels, concentrations, optical_density

MIN_CONTRAST = 0.15  # of a blob, in units of the slide's own strong hematoxylin
MAX_ELONGATION = 5.0  # of curvatures: about that of a nucleus three times as long as wide
STRONG_PERCENTILE = 99.0
MIN_AMOUNT = 0.2  # of hematoxylin: with less on all tiles, noise would become nuclei
Places = NDArray[np.float64]  # (n, 2) rows and columns, tile pixels


class NucleiChange(NamedTuple):
    """Nuclei of some tiles before and after, and how many have no partner on the other side."""

    num_before: int
    num_after: int
    num_lost: int
    num_invented: int


def hematoxylin(tiles_NHW3: Pixels, matrix: Matrix, white_level: NDArray[np.float64]) -> Floats:
    """Amount of hematoxylin (N, H, W) in units of what these tiles hold at most.

    matrix, white_level  of these very tiles
    """
    od = optical_density(tiles_NHW3, white_level).reshape(-1, 3)
    amount = np.maximum(concentrations(od, matrix)[:, 0], 0).reshape(tiles_NHW3.shape[:3])
    strong = float(np.percentile(amount[:, ::4, ::4], STRONG_PERCENTILE)) if amount.size else 0.0
    return np.asarray(amount / max(strong, MIN_AMOUNT), np.float32)


def find_nuclei(amount: Floats, diameter_px: float, min_contrast: float = MIN_CONTRAST) -> Places:
    """Centers (n, 2) of blobs of about diameter_px in an amount of hematoxylin (H, W), 0 to 1.

    Those nearer than half of it to the picture's edge are left out: what is cut is no blob.
    """
    from skimage.feature import peak_local_max

    sigma = max(0.8, diameter_px / (2 * np.sqrt(2)))  # a disk answers best at radius / sqrt(2)
    blurred = cv2.GaussianBlur(amount, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    smooth = np.asarray(blurred, np.float32)
    answer = -(sigma**2) * cv2.Laplacian(smooth, cv2.CV_32F, borderType=cv2.BORDER_REFLECT)
    radius_px = max(1, round(diameter_px / 2))
    found = peak_local_max(  # type: ignore[no-untyped-call]
        answer, min_distance=radius_px, threshold_abs=min_contrast, exclude_border=radius_px
    )
    found = found[_is_round(smooth, found)]
    return np.asarray(found, np.float64).reshape(-1, 2)


def _is_round(smooth: Floats, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which peaks (n, 2) are blobs and not ridges, as fibers and edges of tissue are.

    Of the two curvatures the greater is at most MAX_ELONGATION times the other: Lowe,
    "Distinctive image features", IJCV 2004, section 4.1.
    """
    rows, columns = places[:, 0], places[:, 1]
    xx, yy, xy = (
        cv2.Sobel(smooth, cv2.CV_64F, x, y, ksize=3, borderType=cv2.BORDER_REFLECT)[rows, columns]
        / scale
        for x, y, scale in ((2, 0, 4), (0, 2, 4), (1, 1, 4))
    )
    determinant, trace = xx * yy - xy**2, xx + yy
    limit = (MAX_ELONGATION + 1) ** 2 / MAX_ELONGATION
    return np.asarray((determinant > 0) & (trace**2 < limit * determinant), np.bool_)


def compare_nuclei(before: Places, after: Places, within_px: float) -> NucleiChange:
    """Which nuclei of one tile have a partner: each other's nearest, at most within_px apart."""
    num_matched = 0
    if len(before) and len(after):
        distance = np.linalg.norm(before[:, None] - after[None], axis=2)
        nearest, back = distance.argmin(axis=1), distance.argmin(axis=0)
        rows = np.arange(len(before))
        is_mutual = (back[nearest] == rows) & (distance[rows, nearest] <= within_px)
        num_matched = int(is_mutual.sum())
    return NucleiChange(
        len(before), len(after), len(before) - num_matched, len(after) - num_matched
    )


def nuclei_change(before_NHW: Floats, after_NHW: Floats, diameter_px: float) -> NucleiChange:
    """The nuclei of all tiles, given their hematoxylin before and after, and their usual size."""
    changes = [
        compare_nuclei(
            find_nuclei(one, diameter_px), find_nuclei(other, diameter_px), diameter_px / 2
        )
        for one, other in zip(before_NHW, after_NHW, strict=True)
    ]
    return NucleiChange(*(int(total) for total in np.array(changes).reshape(-1, 4).sum(axis=0)))
