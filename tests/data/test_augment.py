"""Augmentation: each part on paper, and that strength zero changes nothing."""

import numpy as np
import pytest
import torch

from pathology.data.augment import (
    STAINS,
    AugmentConfig,
    augment,
    blurred,
    draw,
    scaled,
    stained,
    turned,
    varied,
)

torch.manual_seed(0)
NOTHING = AugmentConfig(stain=0, color=0, light=0, blur_px=0, scale=0, is_turned=False)


def images(num: int = 3, edge: int = 32) -> torch.Tensor:
    return torch.rand(num, 3, edge, edge) * 0.8 + 0.1


def test_strength_zero_changes_nothing() -> None:
    tiles = images()
    assert torch.equal(augment(tiles, np.random.default_rng(0), NOTHING), tiles)


def test_every_part_changes_something_and_keeps_the_range() -> None:
    tiles = images(12)
    for part in ("stain", "color", "light", "blur_px", "scale"):
        config = NOTHING.model_copy(update={part: 0.3})
        found = augment(tiles, np.random.default_rng(0), config)
        assert found.shape == tiles.shape
        assert not torch.allclose(found, tiles, atol=1e-3), part
        assert found.min() >= 0 and found.max() <= 1


def test_the_same_seed_gives_the_same() -> None:
    tiles = images()
    one, other = (augment(tiles, np.random.default_rng(4), AugmentConfig()) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, augment(tiles, np.random.default_rng(5), AugmentConfig()))


def test_image_by_image_is_all_at_once() -> None:
    tiles = images(6)
    found = augment(tiles, np.random.default_rng(4), AugmentConfig())
    again = varied(tiles, draw(6, np.random.default_rng(4), AugmentConfig()))
    assert torch.allclose(found, again, atol=1e-6)


def test_blur_is_the_convolution_of_a_gaussian() -> None:
    tile, sigma = images(1)[:, :1], 1.2
    place = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = (kernel / kernel.sum()).outer(kernel / kernel.sum())
    padded = torch.nn.functional.pad(tile, [3] * 4, mode="reflect")
    expected = torch.nn.functional.conv2d(padded, kernel[None, None])
    found = blurred(tile.expand(1, 3, -1, -1), torch.tensor([sigma]))
    assert torch.allclose(found[:, :1], expected, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5, 2.0])
def test_a_blur_is_as_strong_as_it_says(sigma: float) -> None:
    point = torch.zeros(1, 3, 33, 33)
    point[..., 16, 16] = 1
    config = NOTHING.model_copy(update={"blur_px": max(1.0, sigma)})
    variation = draw(1, np.random.default_rng(0), config)
    variation = variation._replace(sigma_B=torch.tensor([sigma], dtype=torch.float64))
    for found in (varied(point, variation), varied(point, variation.of(slice(0, 1)))):
        across = found[0, 0].sum(dim=0)
        deviation = (across * (torch.arange(33) - 16) ** 2).sum().sqrt().item()
        assert deviation == pytest.approx(sigma, rel=0.02)


def test_blurs_no_stronger_than_usual_are_cut_off_where_they_always_were() -> None:
    tiles, sigma = images(2), torch.tensor([0.4, 1.0])
    for strongest in (0.3, 1.0):
        config = NOTHING.model_copy(update={"blur_px": strongest})
        variation = draw(2, np.random.default_rng(0), config)._replace(sigma_B=sigma)
        assert torch.equal(varied(tiles, variation), blurred(tiles, sigma, 3))


def test_all_eight_ways_are_different_and_come_back() -> None:
    tile = images(1)
    ways = turned(tile.expand(8, -1, -1, -1), np.arange(8))
    assert len({way.numpy().tobytes() for way in ways}) == 8
    assert torch.equal(turned(turned(tile, np.array([1])), np.array([3])), tile)
    assert torch.equal(turned(turned(tile, np.array([4])), np.array([4])), tile)


def test_scale_one_is_the_identity_and_two_shows_the_middle() -> None:
    tile = images(1)
    assert torch.allclose(scaled(tile, torch.ones(1)), tile, atol=1e-5)
    large = scaled(tile, torch.tensor([2.0]))[:, :, 1:-1, 1:-1]
    middle = torch.nn.functional.interpolate(tile[:, :, 8:24, 8:24], 32, mode="bilinear")
    assert torch.allclose(large, middle[:, :, 1:-1, 1:-1], atol=1e-4)


def test_blur_keeps_the_mean_and_lowers_the_contrast() -> None:
    tiles = images()
    found = blurred(tiles, torch.tensor([0.0, 1.0, 2.0]))
    assert torch.allclose(found[0], tiles[0], atol=1e-5)
    assert found.mean(dim=(1, 2, 3)).tolist() == pytest.approx(
        tiles.mean(dim=(1, 2, 3)).tolist(), abs=0.01
    )
    assert found[2].std() < found[1].std() < found[0].std()


def test_a_stain_of_twice_the_strength_has_twice_the_density() -> None:
    eosin = torch.nn.functional.normalize(STAINS[1], dim=0)
    amount = torch.rand(1, 1, 8, 8) * 0.8
    tile = torch.exp(-amount * eosin[None, :, None, None])
    ones = torch.ones(1, 3)
    found = stained(tile, torch.tensor([[1.0, 2.0, 1.0]]), ones, ones)
    assert torch.allclose(found, tile**2, atol=1e-4)
    other = stained(tile, torch.tensor([[3.0, 1.0, 5.0]]), ones, ones)
    assert torch.allclose(other, tile, atol=1e-4)  # of hematoxylin there is none


def test_white_stays_white_but_for_the_light() -> None:
    white, ones = torch.ones(1, 3, 4, 4), torch.ones(1, 3)
    assert torch.allclose(stained(white, 2 * ones, 3 * ones, ones), white)
    light = torch.tensor([[0.9, 1.0, 0.8]])
    assert torch.allclose(stained(white, ones, ones, light)[0, :, 0, 0], light[0])
