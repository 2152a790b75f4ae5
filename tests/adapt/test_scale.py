"""The guess of a target's scale: on disks of known size, and where it is refused."""

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.adapt.scale import TRIED, flattened, guess_scale, where_alike, window

EDGE = 32
Pixels = NDArray[np.uint8]


def disks(
    seed: int, edge: int, radius: float, color: tuple[int, int, int] = (110, 70, 150)
) -> Pixels:
    """Dark disks on a light ground, as many on an area of their own size whatever that is."""
    random = np.random.default_rng(seed)
    made = np.full((edge, edge, 3), (225, 190, 215), np.uint8)
    for _ in range(round(0.08 * edge**2 / radius**2)):
        x, y = (int(v) for v in random.integers(0, edge, 2))
        size = max(1, round(radius * random.uniform(0.8, 1.2)))
        cv2.circle(made, (x, y), size, color, -1, cv2.LINE_AA)
    return made


def energies(windows: Pixels) -> NDArray[np.float32]:
    """What of a picture lies between two blurs, for several pairs of them."""
    found = []
    for one in windows.astype(np.float32)[..., 0] / 255:
        blurred = [one, *(cv2.GaussianBlur(one, (0, 0), s) for s in (0.8, 1.3, 2.1, 3.4, 5.5))]
        spread = [(a - b).std() for a, b in itertools.pairwise(blurred)]
        found.append(np.log(np.array([*spread, blurred[-1].std()]) + 1e-3))
    return np.array(found, np.float32)


@pytest.mark.parametrize("radius", [3.0, 6.0, 9.0])
def test_disks_of_another_size_and_color(radius: float) -> None:
    source = [disks(i, 2 * EDGE, 6.0) for i in range(40)]
    target = [255 - (255 - disks(100 + i, 4 * EDGE, radius)) // 2 for i in range(30)]
    found = guess_scale(source, target, EDGE, energies)
    assert found.problem == ""
    assert found.factor == pytest.approx(6.0 / radius, rel=0.25)
    assert found == guess_scale(source, target, EDGE, energies)


def test_where_looks_are_alike() -> None:
    log_k = np.log(TRIED)
    found = where_alike(log_k, np.log(0.5) - 0.8 * (log_k - np.log(2)))
    assert found.factor == pytest.approx(2 * np.exp(np.log(0.5) / 0.8), rel=0.02)
    assert found.slope == pytest.approx(-0.8)


@pytest.mark.parametrize(
    ("log_size", "said"),
    [
        (-0.5 * np.log(TRIED) - 2.0, "more than four times finer"),
        (-0.5 * np.log(TRIED) + 2.0, "more than four times coarser"),
        (-0.1 * np.log(TRIED), "much the same"),
    ],
)
def test_what_cannot_be_told_is_refused(log_size: NDArray[np.float64], said: str) -> None:
    assert said in where_alike(np.log(TRIED), log_size).problem


def test_few_pictures_are_refused() -> None:
    assert "7 pictures are too few" in guess_scale([], [disks(0, 128, 5)] * 7, 32, energies).problem


def test_neither_stain_nor_light_is_seen() -> None:
    one = disks(0, 64, 5)
    assert np.abs(flattened(one).astype(int) - flattened(one // 2).astype(int)).max() <= 4
    assert np.array_equal(flattened(one), flattened(one[..., ::-1]))
    assert flattened(np.full((8, 8, 3), 9, np.uint8)).max() == 0


def test_windows_of_enlarged_tiles() -> None:
    random = np.random.default_rng(0)
    for enlarged in (0.5, 1.0, 3.0):
        assert window(random, disks(0, 64, 5), enlarged, 32).shape == (32, 32, 3)
