"""How often classes occur without labels, and scores that choose without them."""

import math

import numpy as np
import pytest
import torch

from pathology.adapt.choose import (
    deep_embedded_validation,
    density_ratio,
    fit_temperature,
    mean_entropy,
    soft_neighborhood_density,
)
from pathology.adapt.prior import (
    class_balance,
    mean_one,
    moved,
    prior_of,
    share_explained,
    target_prior,
)
from pathology.adapt.reversal import reversal_strength, reverse_gradient
from pathology.models.tile_head import PeerHead, TileHead


def answers(share: float, num: int = 4000, seed: int = 0) -> np.ndarray:
    """Exact posteriors of two Gaussians at -1 and 1, even priors, on a target of another share."""
    random = np.random.default_rng(seed)
    label = random.random(num) < share
    x = random.normal(size=num) + np.where(label, 1.0, -1.0)
    p = 1 / (1 + np.exp(-2 * x))
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_the_share_of_a_class_is_found_without_labels(share: float) -> None:
    found = target_prior(answers(share), np.array([0.5, 0.5]))
    assert found[1] == pytest.approx(share, abs=0.03)
    assert found.sum() == pytest.approx(1)
    naive = answers(share).mean(axis=0)[1]
    assert abs(found[1] - share) <= abs(naive - share) + 0.01


def test_classes_that_the_source_lacks_stay_absent() -> None:
    found = target_prior(np.array([[0.7, 0.3, 0.0]] * 10), np.array([0.5, 0.5, 0.0]))
    assert found[2] == pytest.approx(0, abs=1e-6)


def test_what_is_explained_of_labels() -> None:
    label = np.array([0, 0, 0, 1])
    ones = np.ones(2)
    assert share_explained(np.eye(2)[label], label, ones) == pytest.approx(1)
    assert share_explained(np.tile([0.75, 0.25], (4, 1)), label, ones) == pytest.approx(0)
    assert share_explained(np.tile([0.1, 0.9], (4, 1)), label, ones) == 0
    even = np.tile([0.5, 0.5], (4, 1))  # is no guess at all once classes count alike
    assert share_explained(even, label, class_balance(label, 2)) == pytest.approx(0)


def test_answers_moved_to_the_same_prior_stay() -> None:
    p = answers(0.5, 10)
    assert np.allclose(moved(p, np.array([0.3, 0.7]), np.array([0.3, 0.7])), p)
    on_paper = moved(np.array([[0.5, 0.5]]), np.array([0.5, 0.5]), np.array([0.8, 0.2]))
    assert np.allclose(on_paper, [[0.8, 0.2]])


def test_balance_of_classes() -> None:
    label = np.array([0, 0, 0, 1])
    assert prior_of(label, 3).tolist() == [0.75, 0.25, 0.0]
    assert class_balance(label, 2, power=0).tolist() == [1.0, 1.0]
    factor = class_balance(label, 3)
    assert factor[1] == pytest.approx(3 * factor[0])
    assert factor[2] == 0
    assert factor[label].mean() == pytest.approx(1)
    assert prior_of(label, 2, np.array([1.0, 1, 1, 3])).tolist() == [0.5, 0.5]
    assert class_balance(label, 2, 1.0, np.array([1.0, 1, 1, 3])).tolist() == [1.0, 1.0]
    weight = np.array([0.5, 2.0, 1.0, 4.0])
    factor = class_balance(label, 2, 1.0, weight)
    assert (weight * factor[label])[:3].sum() == pytest.approx((weight * factor[label])[3])
    assert (weight * factor[label]).sum() == pytest.approx(weight.sum())


def test_weights_keep_their_ratios_and_have_mean_one() -> None:
    weight = np.array([1.0, 2.0, 5.0])
    found = mean_one(weight)
    assert found.mean() == pytest.approx(1) and np.allclose(found / found[0], weight)
    assert mean_one(np.ones(4)).tolist() == [1.0] * 4
    assert np.isfinite(mean_one(np.array([1e-300, 1e308, 1e308]))).all()


def test_entropy_of_a_guess() -> None:
    assert mean_entropy(np.full((5, 4), 0.25)) == pytest.approx(math.log(4))
    assert mean_entropy(np.eye(3)) == pytest.approx(0, abs=1e-9)


def test_density_is_high_in_tight_clusters_and_highest_in_one() -> None:
    random = np.random.default_rng(0)
    tight = np.repeat(np.eye(2) * 0.98 + 0.01, 50, axis=0)
    loose = random.dirichlet([1, 1], 100)
    assert soft_neighborhood_density(tight) > soft_neighborhood_density(loose)
    one = np.tile([0.9, 0.1], (100, 1))
    assert soft_neighborhood_density(one) == pytest.approx(math.log(99))
    assert soft_neighborhood_density(tight) == pytest.approx(math.log(49), abs=0.01)


def test_validation_weighs_what_looks_like_the_target() -> None:
    random = np.random.default_rng(0)
    source, target = random.normal(size=(4000, 1)), random.normal(1.0, 1.0, (4000, 1))
    asked = random.normal(size=(20_000, 1))
    ratio = density_ratio(source, target, asked)
    exact = np.exp(asked[:, 0] - 0.5)  # of these two Gaussians
    assert np.corrcoef(np.log(ratio), np.log(exact))[0, 1] > 0.99
    loss = asked[:, 0] ** 2  # has mean 2 on the target, 1 on the source
    found = deep_embedded_validation(loss, exact)
    assert found == pytest.approx(2.0, abs=0.15)
    assert deep_embedded_validation(loss, np.ones(len(loss))) == pytest.approx(loss.mean())


def test_reversal_turns_gradients_round() -> None:
    x = torch.randn(4, requires_grad=True)
    made = reverse_gradient(x, 0.3)
    assert torch.equal(made, x)
    (gradient,) = torch.autograd.grad((made * 2).sum(), x)
    assert torch.allclose(gradient, torch.full((4,), -0.6))


def test_strength_climbs_from_0_to_1() -> None:
    found = [reversal_strength(step, 100) for step in range(0, 101, 10)]
    assert found[0] == 0
    assert found == sorted(found)
    assert found[-1] == pytest.approx(1, abs=1e-4)
    assert reversal_strength(5, 0) > 0.99


def test_a_temperature_makes_answers_as_sure_as_they_are_right() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = np.array([random.choice(3, p=row) for row in p])
    for factor in (0.5, 1, 4):  # too doubtful, right, too sure
        found = fit_temperature(factor * logits[None], label)
        assert found == pytest.approx(factor, rel=0.1)
    two = np.stack([4 * logits, 4 * logits])
    assert fit_temperature(two, label) == pytest.approx(4, rel=0.1)
    sure = 1000.0 * np.eye(3)[None, :, :]
    assert fit_temperature(sure, np.arange(3)) > 19  # three right answers prove little
    for head in (TileHead(5, 3, 4, 0.0), TileHead(5, 3, 0, 0.0), PeerHead(5, 3, 4, 0.0)):
        features = torch.randn(7, 5)
        before = head.eval().each(head.embed(features))
        head.cool(2.5)
        for one, other in zip(before, head.each(head.embed(features)), strict=True):
            assert torch.allclose(one / 2.5, other, atol=1e-6)
