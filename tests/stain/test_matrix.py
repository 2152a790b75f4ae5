"""Stain arithmetic: values known on paper, a known matrix recovered, and no NaN from anything."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.stain.matrix import (
    angle_between,
    concentrations,
    estimate_white,
    macenko_matrix,
    optical_density,
    rerender_matrix,
)

WHITE = np.full(3, 240.0)
KNOWN = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
KNOWN /= np.linalg.norm(KNOWN, axis=1, keepdims=True)


def amounts(num: int = 20_000, seed: int = 0) -> NDArray[np.float64]:
    """Nuclei of nearly pure H, stroma of nearly pure E, and mixtures."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 3, num)
    h = random.uniform(0.5, 2.0, num) * np.array([1.0, 0.01, 0.6])[kinds]
    e = random.uniform(0.4, 1.2, num) * np.array([0.01, 1.0, 0.6])[kinds]
    return np.stack([h, e], axis=1)


def test_optical_density_of_glass_is_zero_and_of_a_tenth_is_ln_ten() -> None:
    od = optical_density(np.array([[240, 24, 240]], np.uint8), WHITE)
    assert od[0] == pytest.approx([0.0, np.log(10), 0.0], abs=1e-6)


def test_optical_density_keeps_any_shape() -> None:
    assert optical_density(np.zeros((2, 4, 5, 3), np.uint8), WHITE).shape == (2, 4, 5, 3)
    assert optical_density(np.zeros((0, 3), np.uint8), WHITE).shape == (0, 3)
    assert np.isfinite(optical_density(np.zeros((1, 3), np.uint8), WHITE)).all()


@pytest.mark.parametrize("angle", [12.0, 22.0, 35.0])
def test_macenko_recovers_a_known_matrix(angle: float) -> None:
    h = KNOWN[0]
    across = KNOWN[1] - (KNOWN[1] @ h) * h
    across /= np.linalg.norm(across)
    e = np.cos(np.radians(angle)) * h + np.sin(np.radians(angle)) * across
    known = np.stack([h, e])
    od = (amounts() @ known).astype(np.float32)
    od += np.random.default_rng(1).normal(0, 0.005, od.shape).astype(np.float32)
    found = macenko_matrix(od, alpha=1.0, min_angle=5.0)
    assert found is not None
    assert angle_between(found[0], known[0]) < 2
    assert angle_between(found[1], known[1]) < 2
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)


def test_order_and_sign_do_not_depend_on_the_order_of_pixels() -> None:
    od = (amounts() @ KNOWN).astype(np.float32)
    one, other = macenko_matrix(od, 1.0, 5.0), macenko_matrix(od[::-1], 1.0, 5.0)
    assert one is not None and other is not None
    assert one == pytest.approx(other, abs=1e-4)
    assert one[0, 0] > one[1, 0]
    assert (one >= 0).all()


def test_one_stain_gives_no_matrix() -> None:
    for row in KNOWN:
        od = np.outer(np.linspace(0.2, 2, 5000), row).astype(np.float32)
        od += np.random.default_rng(0).normal(0, 0.005, od.shape).astype(np.float32)
        assert macenko_matrix(od, 1.0, 10.0) is None
    assert macenko_matrix(np.zeros((0, 3), np.float32), 1.0, 10.0) is None
    assert macenko_matrix(np.zeros((1000, 3), np.float32), 1.0, 10.0) is None


def test_concentrations_undo_the_mixing() -> None:
    mixed = amounts(500)
    assert concentrations((mixed @ KNOWN).astype(np.float32), KNOWN) == pytest.approx(
        mixed, abs=1e-4
    )


def test_the_map_between_equal_styles_is_the_identity() -> None:
    assert rerender_matrix(KNOWN, KNOWN, np.ones(2)) == pytest.approx(np.eye(3), abs=1e-12)


def test_the_map_sends_each_stain_to_the_target_and_scales_it() -> None:
    target = np.array([[0.7, 0.6, 0.3], [0.1, 0.9, 0.4]])
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    found = KNOWN @ rerender_matrix(KNOWN, target, np.array([2.0, 0.5]))
    assert found == pytest.approx(target * [[2.0], [0.5]])


def test_white_is_the_median_of_glass_and_not_of_pale_tissue() -> None:
    random = np.random.default_rng(0)
    glass = random.normal([244, 240, 246], 1, (400, 3))
    pale = random.normal([215, 205, 218], 3, (2000, 3))
    pixels = np.clip(np.rint(np.vstack([glass, pale])), 0, 255).astype(np.uint8)
    assert estimate_white(pixels) == pytest.approx([244, 240, 246], abs=1)


def test_no_glass_gives_no_white_level() -> None:
    assert estimate_white(np.full((5000, 3), (180, 90, 160), np.uint8)) is None
    assert estimate_white(np.full((5000, 3), (255, 150, 255), np.uint8)) is None
