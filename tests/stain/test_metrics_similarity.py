"""Similarity: shifts are undone the right way round, and contrast is told from structure."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.table import read_csv
from pathology.stain.similarity import (
    MAX_PSNR,
    PairError,
    gradient_correlation,
    luminance,
    overlap,
    paired_scores,
    structure_scores,
)
from tests.conftest import psnr, tissue_pixels


def scene() -> np.ndarray:
    return tissue_pixels(160, 160)[40:120, 40:120]


@pytest.mark.parametrize("shift", [(0, 0), (-3, -5), (4, 2), (-2, 6), (7, -1)])
def test_a_known_shift_is_undone(shift: tuple[int, int]) -> None:
    whole, (x, y) = tissue_pixels(160, 160), shift
    reference = whole[40:120, 40:120]
    source = whole[40 - y : 120 - y, 40 - x : 120 - x]  # source(i + y, j + x) is reference(i, j)
    one, other = overlap(source, reference, shift)
    assert (one == other).all() and one.shape == (80 - abs(y), 80 - abs(x), 3)
    ssim_N, psnr_N = paired_scores([source], [reference], [shift])
    assert ssim_N[0] == pytest.approx(1) and psnr_N[0] == MAX_PSNR


def test_without_shifts_pictures_lie_as_they_are() -> None:
    picture = scene()
    brighter = np.clip(picture.astype(int) + 10, 0, 255).astype(np.uint8)
    ssim_N, psnr_N = paired_scores([picture, picture], [brighter, picture])
    assert psnr_N[0] == pytest.approx(psnr(picture, brighter), abs=1e-6)
    assert 0.9 < ssim_N[0] < ssim_N[1] == pytest.approx(1)


def test_pictures_that_do_not_fit_are_refused() -> None:
    picture = scene()
    with pytest.raises(PairError, match="differ in size, 80x80 and 80x70"):
        paired_scores([picture], [picture[:70]])
    with pytest.raises(PairError, match="leaves nothing"):
        paired_scores([picture], [picture], [(0, 78)])
    assert len(paired_scores([], []).ssim_N) == 0


def test_contrast_costs_ssim_and_not_the_gradient() -> None:
    picture = scene()
    pale = (255 - (255 - picture.astype(float)) * 0.4).round().astype(np.uint8)
    ssim, gradient = structure_scores(picture, pale)
    assert ssim < 0.9 and gradient > 0.99
    assert structure_scores(picture, picture) == (1.0, pytest.approx(1.0))


def test_moved_and_mirrored_edges_cost_the_gradient() -> None:
    picture = luminance(scene())
    assert gradient_correlation(picture, np.roll(picture, 5, axis=1)) < 0.5
    assert gradient_correlation(picture, 255 - picture) == pytest.approx(-1)
    assert np.isnan(gradient_correlation(picture, np.full_like(picture, 9)))


@pytest.mark.real_data
def test_two_scanners_unnormalized_on_slide_10(data_folder: Path) -> None:
    """The figure that every method is held against."""
    folder = data_folder / "mitos_pairs"
    rows = [row for row in read_csv(folder / "pairs.csv")[1] if row["slide"] == "10"]
    pictures = [
        [cv2.imread(str(folder / row[scanner]), cv2.IMREAD_COLOR_RGB) for row in rows]
        for scanner in ("aperio", "hamamatsu")
    ]
    shifts = [(int(row["shift_x"]), int(row["shift_y"])) for row in rows]
    ssim_N, psnr_N = paired_scores(*pictures, shifts)
    assert len(rows) == 20
    assert ssim_N.mean() == pytest.approx(0.738, abs=5e-4)
    assert psnr_N.mean() == pytest.approx(21.75, abs=5e-3)
