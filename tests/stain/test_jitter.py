"""How much sources vary in training."""

import numpy as np
import torch

from pathology.stain.jitter import channel_factors, jittered_grey
from pathology.stain.networks import to_grey
from pathology.stain.tensors import to_tensor
from tests.stain.synthetic import he_tiles


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
