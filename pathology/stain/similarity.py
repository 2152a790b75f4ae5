"""How alike two pictures of the same tissue are, and whether a change of color kept the structure.

Structural similarity (SSIM) is Wang et al., "Image quality assessment", IEEE TIP 2004, equation
(13), by scikit-image with its default window of 7 pixels; PSNR is 10 log10(255^2 / mean squared
error).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import PathologyError
from pathology.stain.matrix import Floats, Pixels

WINDOW_PX = 7  # of the SSIM
MAX_PSNR = 100.0  # dB, of equal pictures: a mean of infinite numbers says nothing
Shift = tuple[int, int]  # (x, y): source(i + y, j + x) shows what reference(i, j) shows
Scores = NDArray[np.float64]


class PairedScores(NamedTuple):
    """SSIM (N,) and PSNR (N,) in dB of N pairs of pictures."""

    ssim_N: Scores
    psnr_N: Scores


class StructureScores(NamedTuple):
    """What is left of a tile's structure; NaN where the tile shows none.

    ssim         of luminance, 1 where nothing changed; falls with contrast, too
    gradient     correlation of luminance gradients: 1 where every edge stands where it stood
    """

    ssim: float
    gradient: float


class PairError(PathologyError):
    """Two pictures that cannot be compared."""


def paired_scores(
    outputs: Sequence[Pixels], references: Sequence[Pixels], shifts: Sequence[Shift] | None = None
) -> PairedScores:
    """How near each output (H, W, 3) comes to its reference (H, W, 3).

    shifts  one (x, y) a pair, taken out before the comparison; None: the pictures lie as they are
    Raises PairError where sizes differ or a shift leaves less than the SSIM's window.
    """
    found = shifts if shifts is not None else [(0, 0)] * len(outputs)
    scores = [
        _score(*overlap(output, reference, shift))
        for output, reference, shift in zip(outputs, references, found, strict=True)
    ]
    table = np.array(scores, np.float64).reshape(-1, 2)
    return PairedScores(table[:, 0], table[:, 1])


def overlap(source: Pixels, reference: Pixels, shift: Shift) -> tuple[Pixels, Pixels]:
    """The parts of both pictures that show the same place: source(i + y, j + x), reference(i, j).

    >>> one, two = overlap(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8), (-1, 2))
    >>> one.shape, two.shape
    ((7, 8, 3), (7, 8, 3))
    """
    if source.shape != reference.shape:
        raise PairError(
            f"pictures of a pair differ in size, {_size(source)} and {_size(reference)}. "
            "Give pairs of the same place at the same resolution"
        )
    (x, y), (height, width) = shift, source.shape[:2]
    if min(height - abs(y), width - abs(x)) < WINDOW_PX:
        raise PairError(f"a shift of ({x}, {y}) leaves nothing of a picture of {_size(source)}")
    rows, columns = slice(max(0, y), height + min(0, y)), slice(max(0, x), width + min(0, x))
    back_rows = slice(max(0, -y), height + min(0, -y))
    back_columns = slice(max(0, -x), width + min(0, -x))
    return source[rows, columns], reference[back_rows, back_columns]


def structure_scores(before: Pixels, after: Pixels) -> StructureScores:
    """How much of a tile's structure (H, W, 3) a change of its color left as it was."""
    from skimage.metrics import structural_similarity

    one, other = luminance(before), luminance(after)
    ssim = structural_similarity(one, other, data_range=255)  # type: ignore[no-untyped-call]
    return StructureScores(float(ssim), gradient_correlation(one, other))


def luminance(pixels: Pixels) -> Floats:
    """Rec. 601 luminance (H, W), 0 to 255, of pixels (H, W, 3)."""
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY), np.float32)


def gradient_correlation(one: Floats, other: Floats) -> float:
    """Pearson's correlation, -1 to 1, of the Sobel gradients (both directions) of two pictures.

    A change of brightness or contrast leaves it at 1. NaN where a picture has no gradient.
    """
    first, second = _gradients(one), _gradients(other)
    scale = float(np.sqrt((first @ first) * (second @ second)))
    if scale < 1e-6:
        return float("nan")
    return float(np.clip((first @ second) / scale, -1.0, 1.0))


def _gradients(picture: Floats) -> NDArray[np.float64]:
    found = [cv2.Sobel(picture, cv2.CV_64F, x, 1 - x) for x in (1, 0)]
    return np.concatenate([(each - each.mean()).ravel() for each in found])


def _score(output: Pixels, reference: Pixels) -> tuple[float, float]:
    from skimage.metrics import structural_similarity

    ssim = structural_similarity(  # type: ignore[no-untyped-call]
        output, reference, channel_axis=2, data_range=255
    )
    error = np.mean((output.astype(np.float64) - reference) ** 2)
    psnr = 10 * np.log10(255.0**2 / error) if error > 0 else MAX_PSNR
    return float(ssim), float(min(psnr, MAX_PSNR))


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
