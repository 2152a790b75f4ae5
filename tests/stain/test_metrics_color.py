"""Color distances: shifts by their size, glass left out, and vectors by their angle."""

import numpy as np
import pytest

from pathology.stain.color_distance import (
    color_distance,
    color_quantiles,
    stain_angles,
    stain_matrix_of,
    tissue_lab,
    white_of,
)
from pathology.stain.config import StainConfig
from tests.stain.synthetic import MATRIX, he_tiles

CONFIG = StainConfig()


def cloud(num: int = 5000, seed: int = 0) -> np.ndarray:
    colors = np.random.default_rng(seed).normal([60, 30, -15], [12, 8, 5], (num, 3))
    return colors.astype(np.float32)


@pytest.mark.parametrize(
    "shift", [(10, 0, 0), (0, -10, 0), (0, 0, 10), (6, 0, 8), (-5.8, 5.8, 5.7)]
)
def test_colors_that_shift_by_ten_lie_ten_apart(shift: tuple[float, float, float]) -> None:
    moved = cloud() + np.array(shift, np.float32)
    distance = color_distance(color_quantiles(cloud()), color_quantiles(moved))
    assert distance == pytest.approx(10, rel=0.03)


def test_more_than_the_mean_counts() -> None:
    wide = (cloud() - cloud().mean(axis=0)) * 1.5 + cloud().mean(axis=0)
    same = color_distance(color_quantiles(cloud()), color_quantiles(cloud(seed=1)))
    assert same < 0.5
    assert color_distance(color_quantiles(cloud()), color_quantiles(wide)) > 2


def test_no_tissue_has_no_distance() -> None:
    glass = np.full((2, 64, 64, 3), 243, np.uint8)
    lab = tissue_lab(glass, CONFIG)
    assert lab.shape == (0, 3)
    assert np.isnan(color_distance(color_quantiles(lab), color_quantiles(cloud())))
    assert stain_matrix_of(glass, CONFIG) is None


def test_glass_does_not_count() -> None:
    tiles = he_tiles()
    padded = np.concatenate([tiles, np.full_like(tiles, 243)])
    one, other = (color_quantiles(tissue_lab(each, CONFIG)) for each in (tiles, padded))
    assert color_distance(one, other) < 0.3


def test_lab_is_that_of_the_standard() -> None:
    red = np.zeros((1, 40, 40, 3), np.uint8)
    red[..., 0] = 255
    assert np.allclose(tissue_lab(red, CONFIG)[0], [53.24, 80.09, 67.20], atol=0.1)


def test_stain_vectors_and_their_angles() -> None:
    found = stain_matrix_of(he_tiles(8), CONFIG)
    assert found is not None
    assert max(stain_angles(found, MATRIX)) < 3
    assert stain_angles(np.eye(3)[:2], np.eye(3)[1:]) == (90.0, 90.0)
    assert all(np.isnan(angle) for angle in stain_angles(None, MATRIX))


def test_white_is_measured_or_given() -> None:
    assert np.allclose(white_of(he_tiles(), CONFIG), 243, atol=2)
    assert (white_of(he_tiles(), StainConfig(white_level=230)) == 230).all()
