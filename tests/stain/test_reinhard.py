"""L*a*b* against known colors and scikit-image; the transfer moves mean and spread."""

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from pathology.stain.classical import normalize_batch
from pathology.stain.config import StainConfig
from pathology.stain.fit import fit_reference
from pathology.stain.lab import lab_to_rgb, rgb_to_lab, transfer_lab
from pathology.stain.reinhard import ReinhardReference
from tests.stain.synthetic import OTHER, he_tiles

CONFIG = StainConfig(method="reinhard")
COLORS = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


def test_known_colors() -> None:
    found = rgb_to_lab(np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], np.uint8))
    assert found == pytest.approx(
        np.array([[0, 0, 0], [100, 0, 0], [53.24, 80.09, 67.20]]), abs=0.05
    )


def test_scikit_image_agrees() -> None:
    assert rgb_to_lab(COLORS) == pytest.approx(rgb2lab(COLORS), abs=0.01)
    lab = rgb_to_lab(COLORS)
    assert lab_to_rgb(lab) == pytest.approx(lab2rgb(lab) * 255, abs=0.05)


def test_there_and_back_is_the_same_color() -> None:
    assert lab_to_rgb(rgb_to_lab(COLORS)) == pytest.approx(COLORS.astype(float), abs=0.05)
    assert (transfer_lab(COLORS, np.ones(3, np.float32), np.zeros(3, np.float32)) == COLORS).all()


def test_the_fast_transfer_is_the_plain_one() -> None:
    scale, shift = np.array([0.9, 1.2, 0.7], np.float32), np.array([5, -3, 2], np.float32)
    plain = np.rint(lab_to_rgb(rgb_to_lab(COLORS) * scale + shift))
    assert np.abs(transfer_lab(COLORS, scale, shift) - plain).max() <= 1


def test_pooling_is_the_spread_of_all_pixels_together() -> None:
    one, other = he_tiles(4, seed=1), he_tiles(4, matrix=OTHER, seed=1)
    parts = [fit_reference([tiles], CONFIG) for tiles in (one, other)]
    both = fit_reference([one, other], CONFIG)
    assert isinstance(both, ReinhardReference)
    means = np.array([part.mean for part in parts if isinstance(part, ReinhardReference)])
    spreads = np.array([part.spread for part in parts if isinstance(part, ReinhardReference)])
    second_moment = (spreads**2 + means**2).mean(axis=0)
    assert both.mean == pytest.approx(means.mean(axis=0), abs=1e-4)
    assert both.spread == pytest.approx(np.sqrt(second_moment - np.square(both.mean)), abs=1e-4)


def test_a_narrow_spread_is_widened_up_to_the_limit_only() -> None:
    flat = he_tiles(4).astype(float)
    flat[:, 8:] = (flat[:, 8:] - 150) * 0.1 + [150, 90, 150]
    tiles = flat.clip(0, 255).astype(np.uint8)
    reference = fit_reference([he_tiles(4)], CONFIG)
    assert isinstance(reference, ReinhardReference)

    def spread_after(limit: float) -> float:
        config = StainConfig(method="reinhard", max_gain=limit)
        rendered = normalize_batch(tiles, reference, config).tiles
        return float(rgb_to_lab(rendered[:, 8:])[..., 0].std())

    before = float(rgb_to_lab(tiles[:, 8:])[..., 0].std())
    assert spread_after(1.0) == pytest.approx(before, rel=0.05)
    assert spread_after(2.0) == pytest.approx(2 * before, rel=0.05)
