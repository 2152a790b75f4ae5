"""Tissue, ink and picture quality on images made for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.tiling.config import QualityConfig, TissueConfig
from pathology.tiling.ink import pen_mask
from pathology.tiling.quality import judging_px, look_at, quality_scores, sharpness, verdict
from pathology.tiling.tissue import tissue_mask, without_small, without_tint
from tests.conftest import GLASS, tissue_pixels

PINK, PURPLE = (225, 150, 190), (110, 60, 140)


def glass(height: int = 100, width: int = 120) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(-2, 3, (height, width, 1))
    return (GLASS + noise.repeat(3, axis=2)).astype(np.uint8)


def with_disc(color: tuple[int, int, int], radius: int = 30) -> NDArray[np.uint8]:
    image = glass()
    cv2.circle(image, (60, 50), radius, color, -1)
    return image


@pytest.mark.parametrize("method", ["otsu", "hsv"])
def test_tissue_is_found_and_glass_is_not(method: str) -> None:
    mask = tissue_mask(with_disc(PINK), 8.0, TissueConfig(method=method))
    assert mask[50, 60]
    assert not mask[:15].any()
    assert mask.sum() == pytest.approx(np.pi * 30**2, rel=0.05)


@pytest.mark.parametrize("method", ["otsu", "hsv"])
def test_bare_glass_holds_no_tissue(method: str) -> None:
    assert not tissue_mask(glass(), 8.0, TissueConfig(method=method)).any()


def test_a_picture_full_of_tissue_is_all_tissue() -> None:
    image = np.empty((100, 100, 3), np.uint8)
    image[:50], image[50:] = PINK, PURPLE
    assert tissue_mask(image, 8.0, TissueConfig()).all()


def test_tinted_glass_is_still_glass() -> None:
    tint = np.array([1.0, 0.95, 0.90])
    image = (with_disc(PINK) * tint).astype(np.uint8)
    mask = tissue_mask(image, 8.0, TissueConfig())
    assert mask[50, 60]
    assert mask.mean() < 0.3
    assert not tissue_mask((glass() * tint).astype(np.uint8), 8.0, TissueConfig()).any()


def test_a_strong_colour_is_no_tint() -> None:
    image = np.full((50, 50, 3), (255, 200, 230), np.uint8)
    assert np.array_equal(without_tint(image), image)


def test_specks_go_and_small_holes_close_by_their_area_in_microns() -> None:
    image = with_disc(PINK)
    cv2.circle(image, (60, 50), 4, (GLASS,) * 3, -1)  # a hole of about 50 px
    cv2.circle(image, (10, 10), 4, PINK, -1)  # a speck of about 50 px
    loose = TissueConfig(min_object_um2=1000, max_hole_um2=1000)
    strict = TissueConfig(min_object_um2=10_000, max_hole_um2=10_000)
    assert tissue_mask(image, 8.0, loose)[10, 10]
    assert not tissue_mask(image, 8.0, loose)[50, 60]
    assert not tissue_mask(image, 8.0, strict)[10, 10]
    assert tissue_mask(image, 8.0, strict)[50, 60]


def test_without_small_counts_pixels() -> None:
    mask = np.zeros((5, 9), np.bool_)
    mask[1, 1:4] = mask[3, 5:9] = True
    assert without_small(mask, 4).sum() == 4
    assert without_small(mask, 3).sum() == 7


@pytest.mark.parametrize(
    ("color", "is_ink"),
    [
        ((20, 140, 60), True),  # green
        ((20, 60, 170), True),  # blue
        ((25, 25, 28), True),  # black
        ((230, 210, 40), True),  # yellow
        (PINK, False),
        (PURPLE, False),
        ((90, 50, 130), False),  # dark haematoxylin
        ((190, 40, 60), False),  # blood
        ((GLASS,) * 3, False),
    ],
)
def test_ink_is_told_from_stain(color: tuple[int, int, int], is_ink: bool) -> None:
    image = np.full((10, 10, 3), color, np.uint8)
    assert (pen_mask(image) > 0).all() == is_ink


def test_ink_is_cut_out_of_the_mask() -> None:
    image = with_disc(PINK)
    image[50:, 60:] = np.where(image[50:, 60:] == GLASS, image[50:, 60:], (20, 140, 60))
    kept = tissue_mask(image, 8.0, TissueConfig())
    assert kept[40, 50]
    assert not kept[60, 70]
    assert tissue_mask(image, 8.0, TissueConfig(exclude_pen=False))[60, 70]


def test_no_method_means_all_is_tissue() -> None:
    assert tissue_mask(glass(), 8.0, TissueConfig(method="none")).all()


def quality(tile: NDArray[np.uint8]) -> str | None:
    config = QualityConfig()
    return verdict(
        quality_scores(look_at(tile), judging_px(len(tile), 0.5, config), config), config
    )


def test_verdicts() -> None:
    good = tissue_pixels(600, 600)[172:428, 172:428]
    white, black = np.full_like(good, 240), np.full_like(good, 5)
    inked = good.copy()
    inked[:, :64] = (20, 140, 60)
    assert quality(np.ascontiguousarray(good)) is None
    assert quality(white) == "white"
    assert quality(black) == "black"
    assert quality(inked) == "pen"
    blurred = np.asarray(cv2.GaussianBlur(good, (0, 0), 6), np.uint8)  # 3 um at 0.5 um/px
    assert quality(blurred) == "blur"


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    expected = cv2.Laplacian(grey, cv2.CV_64F).var()
    assert sharpness(grey, 64) == pytest.approx(expected, rel=1e-6)


def test_tiles_are_judged_at_one_resolution_and_never_enlarged() -> None:
    config = QualityConfig(mpp=1.0)
    assert judging_px(256, 0.5, config) == 128
    assert judging_px(512, 0.25, config) == 128
    assert judging_px(256, 2.0, config) == 256
