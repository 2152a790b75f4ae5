"""Glass, grey pictures and colours are told apart, as cameras give them."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pathology.tiling.shown import shown_by
from tests.conftest import GLASS, tissue_pixels

EDGE = 128
Pixels = NDArray[np.uint8]


def noisy(pixels: Pixels, deviation: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "JPEG", quality=quality)
    return np.asarray(Image.open(made).convert("RGB"))


def in_grey(pixels: Pixels) -> Pixels:
    return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def glass(lost: float = 0.0, tint: float = 1.0) -> Pixels:
    """Empty glass under a lamp of some tint, with less light in the corners."""
    y, x = np.mgrid[-1 : 1 : EDGE * 1j, -1 : 1 : EDGE * 1j]
    light = 235 * (1 - lost * ((x * x + y * y) / 2) ** 1.5)
    return (light[..., None] * np.array([1.0, (1 + tint) / 2, tint])).astype(np.uint8)


@pytest.mark.parametrize("factor", [1.0, 0.45, 0.1])
@pytest.mark.parametrize("blur_px", [0, 6])
def test_tissue_shows_colors_be_it_dim_or_blurred(factor: float, blur_px: float) -> None:
    pixels = (tissue_pixels(EDGE, EDGE) * factor).astype(np.uint8)
    if blur_px:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), blur_px), np.uint8)
    assert shown_by(pixels[None]) == "colors"


@pytest.mark.parametrize("quality", [40, 90])
@pytest.mark.parametrize("deviation", [0, 1, 4])
def test_equal_channels_are_grey_though_stored_as_three(quality: int, deviation: float) -> None:
    pixels = as_jpeg(noisy(in_grey(tissue_pixels(EDGE, EDGE)), deviation), quality)
    assert shown_by(pixels[None]) == "grey"


@pytest.mark.parametrize("lost", [0.0, 0.35])
@pytest.mark.parametrize("tint", [1.0, 0.85])
@pytest.mark.parametrize("deviation", [0, 4])
def test_glass_shows_nothing_and_is_not_grey(lost: float, tint: float, deviation: float) -> None:
    assert shown_by(noisy(glass(lost, tint), deviation)[None]) == "nothing"


def test_one_tile_in_colors_is_enough() -> None:
    color = tissue_pixels(EDGE, EDGE)
    blank = np.full_like(color, GLASS)
    assert shown_by(np.stack([blank, in_grey(color), color])) == "colors"
    assert shown_by(np.stack([blank, in_grey(color)])) == "grey"
    assert shown_by(np.stack([blank, blank * 0])) == "nothing"
    assert shown_by(color[None, :0].reshape(0, 0, EDGE, 3)) == "nothing"
