"""Tiles as a camera sees them, beside the simulator of such cameras."""

import cv2
import numpy as np
import pytest
import torch

from pathology.data.augment import blurred
from pathology.data.scope import (
    BLUR_RADIUS,
    ScopeConfig,
    compressed,
    noisy,
    seen_by_camera,
    shaded,
)
from pathology.simulate.microscope import vignette
from tests.conftest import tissue_pixels

NONE = ScopeConfig(defocus_px=0, cast=0, shade=0, noise=0, jpeg=0)


def images(num: int = 3, edge: int = 32) -> torch.Tensor:
    return torch.rand(num, 3, edge, edge, generator=torch.Generator().manual_seed(0))


def test_nothing_is_changed_where_nothing_is_asked() -> None:
    x = images()
    assert torch.allclose(seen_by_camera(x, np.random.default_rng(0), NONE), x, atol=1e-6)


@pytest.mark.parametrize("name", ["defocus_px", "cast", "shade", "noise", "jpeg"])
def test_each_setting_changes_images_by_itself(name: str) -> None:
    x = images()
    config = NONE.model_copy(update={name: getattr(ScopeConfig(), name)})
    seen = seen_by_camera(x, np.random.default_rng(0), config)
    assert seen.shape == x.shape and seen.min() >= 0 and seen.max() <= 1
    assert sum((a - b).abs().max() > 1e-3 for a, b in zip(seen, x, strict=True)) >= 2


def test_the_same_seed_sees_the_same() -> None:
    x = images()
    one, other, third = (seen_by_camera(x, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, other)
    assert not torch.allclose(one, third)


def test_defocus_is_a_gaussian_of_each_image() -> None:
    x = images(edge=64)
    seen = blurred(x, torch.tensor([0.0, 1.0, 2.0]), BLUR_RADIUS)
    assert torch.allclose(seen[0], x[0], atol=1e-6)
    for image, found, sigma in zip(x[1:], seen[1:], (1.0, 2.0), strict=True):
        rgb = image.permute(1, 2, 0).numpy()
        wanted = cv2.GaussianBlur(rgb, (13, 13), sigma, borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(found.permute(1, 2, 0).numpy() - wanted).max() < 1e-4


def test_shade_is_that_of_the_simulator() -> None:
    x = torch.ones(2, 3, 40, 40)
    corner = torch.tensor([[-1.0, -1.0], [0.0, 0.0]])
    whole = shaded(x, torch.tensor([0.35, 0.35]), corner, 2.0)[0, 0].numpy()
    assert np.abs(whole - vignette((40, 40), 0.35)).max() < 1e-5
    part = shaded(x, torch.tensor([0.35, 0.35]), corner, 1.0)[1, 0]
    assert part[0, 0] == 1 and part[-1, -1] == pytest.approx(0.65)


def test_noise_grows_with_the_root_of_light() -> None:
    x = torch.full((2, 3, 200, 200), 0.25)
    x[1] = 1.0
    apart = noisy(x, torch.tensor([0.1, 0.1]), seed=0) - x
    assert apart[0].std().item() == pytest.approx(0.05, rel=0.02)
    assert apart[1].std().item() == pytest.approx(0.1, rel=0.02)
    assert abs(apart.mean().item()) < 1e-3


@pytest.mark.parametrize("edge", [64, 37])  # of whole blocks, and not
def test_a_jpeg_is_what_another_library_makes_of_it(edge: int) -> None:
    rgb = tissue_pixels(edge, edge, seed=0)
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    apart = []
    for quality in (40, 75, 100):
        (seen,) = compressed(x, np.array([quality]))
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _, file = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
        wanted = cv2.cvtColor(cv2.imdecode(file, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        found = (seen.permute(1, 2, 0).numpy() * 255).round()
        assert np.abs(found - wanted).mean() < 1
        apart.append(np.abs(found - rgb).mean())
    assert apart[0] > apart[1] > apart[2] > 0


def test_each_image_is_compressed_by_itself_and_leaves_what_it_was_made_of() -> None:
    x = images(edge=48)
    before, quality = x.clone(), np.array([20, 90, 60])
    seen = compressed(x.contiguous(memory_format=torch.channels_last), quality)
    assert torch.equal(x, before) and seen.shape == x.shape and seen.dtype == x.dtype
    for i in range(3):
        assert torch.equal(seen[i : i + 1], compressed(x[i : i + 1], quality[i : i + 1]))
    assert not seen.requires_grad and not compressed(x.requires_grad_(), quality).requires_grad


def test_quality_is_lost_as_far_as_is_set() -> None:
    x = images(200, edge=16)
    lost = {}
    for most in (10, 60):
        seen = seen_by_camera(x, np.random.default_rng(0), NONE.model_copy(update={"jpeg": most}))
        lost[most] = (seen - x).abs().mean().item()
        random = np.random.default_rng(0)
        assert not torch.equal(seen, seen_by_camera(x, random, NONE))
        assert seen.min() >= 0 and seen.max() <= 1
    assert lost[60] > lost[10]
