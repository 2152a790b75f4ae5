"""Histogram matching: curves known on paper, and scikit-image's answer."""

import numpy as np
import pytest
from skimage.exposure import match_histograms

from pathology.stain.histogram import NUM_LEVELS, matching_curves
from tests.stain.synthetic import OTHER, he_tiles


def shares_of(levels: np.ndarray) -> np.ndarray:
    return np.bincount(levels.ravel(), minlength=NUM_LEVELS) / levels.size


def curve(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    one = np.stack([shares_of(own)] * 3)[None]
    found = matching_curves(one, [tuple(shares_of(wanted))] * 3)
    assert (found[0, 0] == found[0, 1]).all()
    return found[0, 0]


def test_a_shift_is_found() -> None:
    own = np.random.default_rng(0).integers(50, 150, 10_000)
    assert curve(own, own + 20)[50:150] == pytest.approx(np.arange(70, 170), abs=1e-3)


def test_the_same_distribution_is_the_identity_where_levels_occur() -> None:
    own = np.random.default_rng(0).normal(120, 20, 10_000).astype(int)
    seen = np.unique(own)
    assert curve(own, own)[seen] == pytest.approx(seen, abs=1e-3)


def test_levels_never_seen_take_the_nearest_rank_and_order_is_kept() -> None:
    random = np.random.default_rng(0)
    found = curve(random.integers(80, 120, 5000), random.integers(100, 200, 5000))
    assert (np.diff(found) >= 0).all()
    assert found[:80] == pytest.approx(99.5) and found[121:] == pytest.approx(199.5, abs=0.1)


def test_scikit_image_agrees() -> None:
    one, other = he_tiles(1, 128)[0], he_tiles(1, 128, matrix=OTHER, seed=2)[0]
    wanted = match_histograms(one, other, channel_axis=-1)
    own = np.stack([shares_of(one[..., c]) for c in range(3)])[None]
    curves = matching_curves(own, [tuple(shares_of(other[..., c])) for c in range(3)])
    found = np.stack([curves[0, c][one[..., c]] for c in range(3)], axis=-1)
    assert np.abs(found - wanted).mean() < 1
