"""Every term of the loss: a value known on paper, an extreme input, an identity, its gradient."""

import math

import pytest
import torch
from skimage.measure import block_reduce

from pathology.stain.losses import (
    discriminator_loss,
    fake_loss,
    l1_loss,
    od_luminance,
    real_loss,
    structure_loss,
)

torch.manual_seed(0)


def images(*shape: int, double: bool = False) -> torch.Tensor:
    kind = torch.float64 if double else torch.float32
    return torch.rand(*shape, dtype=kind) * 1.6 - 0.8


def test_adversarial_terms_on_paper() -> None:
    scores = torch.tensor([0.0, 1.0, 3.0])
    assert real_loss(scores).item() == pytest.approx((1 + 0 + 4) / 3)
    assert fake_loss(scores).item() == pytest.approx((0 + 1 + 9) / 3)
    assert discriminator_loss([scores], [scores]).item() == pytest.approx(0.5 * (5 / 3 + 10 / 3))


def test_adversarial_terms_are_distances_to_their_labels() -> None:
    scores = torch.randn(4, 1, 8, 8)
    mse = torch.nn.functional.mse_loss
    assert torch.allclose(real_loss(scores), mse(scores, torch.ones_like(scores)))
    assert torch.allclose(fake_loss(scores), mse(scores, torch.zeros_like(scores)))


def test_adversarial_terms_of_huge_scores_are_finite() -> None:
    assert real_loss(torch.tensor([1e6])).isfinite()
    assert real_loss(torch.ones(9), torch.zeros(1)).item() == 0.5  # judges count alike
    assert fake_loss(torch.tensor([-1e6])).isfinite()


def test_l1_on_paper_and_of_equals() -> None:
    one = images(2, 3, 8, 8)
    assert l1_loss(one, one).item() == 0
    assert l1_loss(one, one + 0.25).item() == pytest.approx(0.25, abs=1e-6)
    assert l1_loss(torch.full((1, 3, 4, 4), 1.0), torch.full((1, 3, 4, 4), -1.0)).item() == 2


def test_l1_over_squares_compares_their_means() -> None:
    one, other = images(1, 3, 8, 8), images(1, 3, 8, 8)
    means = block_reduce((one - other).numpy(), (1, 1, 4, 4), lambda x, axis: x.mean(axis=axis))
    assert l1_loss(one, other, pool_px=4).item() == pytest.approx(abs(means).mean(), abs=1e-6)


def test_l1_over_squares_lets_a_blur_pass() -> None:
    checkers = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(1, 3, 4, 4)
    assert l1_loss(checkers, torch.zeros_like(checkers), pool_px=4).item() == 0
    assert l1_loss(checkers, torch.zeros_like(checkers)).item() == 1


def test_od_of_glass_half_light_and_black() -> None:
    shade = torch.tensor([1.0, 0.0, -1.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    found = od_luminance(shade)[:, 0, 0].tolist()
    assert found == pytest.approx([0.0, math.log(2), math.log(255)], abs=1e-5)


def test_structure_of_equals_of_the_inverse_and_of_flat_images() -> None:
    one = images(2, 3, 16, 16)
    assert structure_loss(one, one).item() == pytest.approx(0, abs=1e-4)
    ramp = torch.linspace(-0.5, 0.5, 16).expand(1, 3, 16, 16)
    assert structure_loss(ramp, ramp.flip(3)).item() > 1
    assert structure_loss(torch.ones(1, 3, 8, 8), one[:1, :, :8, :8]).isfinite()


def test_structure_ignores_how_strong_a_stain_is() -> None:
    od = torch.rand(1, 1, 16, 16).expand(-1, 3, -1, -1)
    pale, dark = 2 * torch.exp(-0.5 * od) - 1, 2 * torch.exp(-1.5 * od) - 1
    assert structure_loss(pale, dark).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("loss", [l1_loss, structure_loss])
def test_gradients_of_two_image_terms(loss: object) -> None:
    pair = images(1, 3, 4, 4, double=True).requires_grad_(), images(1, 3, 4, 4, double=True)
    assert torch.autograd.gradcheck(loss, pair)


@pytest.mark.parametrize("loss", [real_loss, fake_loss])
def test_gradients_of_adversarial_terms(loss: object) -> None:
    scores = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (scores,))
