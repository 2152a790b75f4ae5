"""Sources stained otherwise: what changes, what stays, and that the style told is the true one."""

import numpy as np
import torch

from pathology.stain.config import StainConfig
from pathology.stain.jitter import channel_factors, jittered_grey, restained, restyled
from pathology.stain.networks import to_grey
from pathology.stain.styles import tile_styles
from pathology.stain.tensors import from_tensor, to_tensor

from .synthetic import he_tiles

FACTOR = torch.tensor([[1.25, 0.85, 1.1]] * 4)


def test_factors_of_one_change_nothing_and_glass_stays_white() -> None:
    shown = to_tensor(he_tiles(4))
    assert torch.allclose(restained(shown, torch.ones(4, 3)), shown, atol=1e-5)
    white = torch.ones(4, 3, 8, 8)
    assert torch.equal(restained(white, FACTOR), white)
    assert restained(-white, FACTOR).isfinite().all()  # black


def test_the_style_told_is_what_is_measured_on_the_restained_tiles() -> None:
    tiles, config = he_tiles(4, 128, white=255.0), StainConfig(white_level=255.0)
    before = torch.from_numpy(tile_styles(tiles, config).matrix_N23).reshape(-1, 6)
    changed = from_tensor(restained(to_tensor(tiles), FACTOR))
    after = torch.from_numpy(tile_styles(changed, config).matrix_N23).reshape(-1, 6)
    told = restyled(before, FACTOR)
    assert (told - after).abs().max() < 0.03
    assert (told - before).abs().max() > 0.08


def test_factors_are_spread_about_one_as_asked_and_differ_by_image_and_channel() -> None:
    factor = channel_factors(np.random.default_rng(0), 2000, 0.2)
    assert abs(float(factor.log().std()) - 0.2) < 0.01
    assert abs(float(factor.log().mean())) < 0.01
    assert len(factor.unique()) > 5000


def test_grey_sources_vary_in_strength_and_stay_grey() -> None:
    shown = to_tensor(he_tiles(2))
    grey = jittered_grey(shown, np.random.default_rng(0))
    assert torch.allclose(grey[:, 0], grey[:, 2])
    assert not torch.allclose(grey, to_grey(shown), atol=0.01)
