"""Limits of what a model was taught on, by Gaussians whose distances are known."""

from pathlib import Path

import numpy as np
import pytest

from pathology.core.errors import ArtifactError
from pathology.inference.taught_limits import TaughtLimits, fit_limits
from tests.inference.conftest import EDGE, MPP, scene

NUM, FEATURES = 400, 6


@pytest.fixture(scope="module")
def limits() -> TaughtLimits:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(NUM, FEATURES)) * [1, 1, 1, 1, 1, 20]).astype(np.float32)
    tiles = np.stack([scene(EDGE, EDGE, seed=i % 8) for i in range(NUM)])
    return fit_limits("abc", tiles, features, np.arange(NUM) // 10, MPP)


def test_one_in_a_hundred_of_its_own_kind_is_flagged(limits: TaughtLimits) -> None:
    rng = np.random.default_rng(1)
    same = (rng.normal(size=(4000, FEATURES)) * [1, 1, 1, 1, 1, 20]).astype(np.float32)
    assert 0.001 < np.mean(limits.distance(same) > limits.max_distance) < 0.03


def test_what_differs_by_its_own_measure_is_flagged(limits: TaughtLimits) -> None:
    far = np.zeros((2, FEATURES), np.float32)
    far[0, 0], far[1, 5] = 12, 12  # twelve deviations, and half of one
    assert (limits.distance(far) > limits.max_distance).tolist() == [True, False]


def test_kept_and_read_again(limits: TaughtLimits, tmp_path: Path) -> None:
    limits.save(tmp_path / "m.limits.npz")
    again = TaughtLimits.load(tmp_path / "m.limits.npz")
    assert again.model == "abc" and again.num_pictures == 40
    assert np.array_equal(again.factor_FF, limits.factor_FF)
    assert again.max_distance == limits.max_distance
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="pathology live limits"):
        TaughtLimits.load(tmp_path / "bad.npz")


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(ArtifactError, match="too few to learn limits"):
        fit_limits(
            "", np.zeros((9, 8, 8, 3), np.uint8), np.zeros((9, 4), np.float32), np.zeros(9, int), 1
        )
