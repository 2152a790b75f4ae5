"""Rulings drawn in known directions, and objectives kept in a file."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.core.errors import ConfigError
from pathology.inference.objectives import Objective, keep_objective, nominal_scale, read_objectives
from pathology.inference.stage_micrometer import glass_color, measure_ruling


def ruling(pitch: float, degrees: float) -> NDArray[np.uint8]:
    """A stage micrometer: short lines, longer ones at five and ten, light that falls off, noise."""
    width, height = 640, 480
    y, x = np.mgrid[:height, :width].astype(np.float64)
    angle = np.deg2rad(degrees)
    along = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle)
    across = -(x - width / 2) * np.sin(angle) + (y - height / 2) * np.cos(angle)
    number = np.round(along / pitch)
    length = np.where(number % 10 == 0, 130, np.where(number % 5 == 0, 95, 65))
    ink = np.clip(2 - np.abs(along - number * pitch), 0, 1) * ((across > -length) & (across < 0))
    light = 1 - 0.25 * (((x / width - 0.5) ** 2) + ((y / height - 0.5) ** 2))
    noise = np.random.default_rng(0).normal(0, 4, (height, width))
    grey = (235 - 170 * ink) * light + noise
    return np.clip(grey[..., None] * [1, 0.97, 0.9], 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pitch", "degrees"), [(28.985, 0), (28.985, 90), (14.37, -7), (33.3, 41), (57.9, 3)]
)
def test_a_ruling_is_measured_to_a_tenth_of_a_percent(pitch: float, degrees: float) -> None:
    found = measure_ruling(ruling(pitch, degrees))
    assert abs(found.division_px / pitch - 1) < 1e-3


def test_tissue_and_nothing_are_no_ruling() -> None:
    blank = np.random.default_rng(0).normal(230, 3, (300, 400, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 400, (300, 400, 3)), (0, 0), 4)
    texture = np.clip(150 + smooth, 0, 255).astype(np.uint8)
    for pixels in (texture, blank, np.full((300, 400, 3), 255, np.uint8)):
        with pytest.raises(ConfigError, match="no ruling is plain"):
            measure_ruling(pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (3, 5), (9, 9)])
def test_a_tiny_picture_is_no_ruling(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    with pytest.raises(ConfigError, match="no ruling is plain"):
        measure_ruling(pixels)


def test_the_color_of_glass_is_seen_beside_the_ruling() -> None:
    red, green, blue = glass_color(ruling(40, 0))
    assert abs(green / red - 0.97) < 0.02 and abs(blue / red - 0.9) < 0.02


def test_objectives_are_kept_by_name(tmp_path: Path) -> None:
    path = tmp_path / "objectives.yaml"
    keep_objective(path, "10x", Objective(mpp=0.345, how="by hand"))
    keep_objective(path, "20x", Objective(mpp=0.1725, glass=(240, 235, 220)))
    known = read_objectives(path)
    assert list(known.objectives) == ["10x", "20x"]
    scale = known.scale("20x", path)
    assert scale == (0.1725, "calibrated", "20x", (240, 235, 220))
    with pytest.raises(ConfigError, match="'40x' is not calibrated \\(10x, 20x\\)"):
        known.scale("40x", path)
    path.write_text("objectives: {10x: {mpp: 700}}")
    with pytest.raises(ConfigError, match=r"objectives\.yaml"):
        read_objectives(path)


def test_arithmetic_where_nothing_was_measured() -> None:
    assert nominal_scale("20", 3.45, 1.0).mpp == pytest.approx(0.1725)
    with pytest.raises(ConfigError, match="expected a magnification"):
        nominal_scale("oil", 3.45, 1.0)
    for camera_um, adapter in ((0, 1), (-3.45, 1), (math.nan, 1), (3450, 1), (3.45, 0)):
        with pytest.raises(ConfigError, match=r"--camera-um .* is not that of a microscope"):
            nominal_scale("20", camera_um, adapter)
    with pytest.raises(ConfigError, match="expected a magnification"):
        nominal_scale("nan", 3.45, 1.0)
