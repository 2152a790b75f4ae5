"""Every loss of adaptation: a value known on paper, an extreme input, an identity, its gradient."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from pathology.adapt.losses import (
    binary_adversary,
    class_confusion,
    consistency,
    coral,
    covariance,
    focal_cross_entropy,
    least_squares_adversary,
    mmd,
    noisy_log_probabilities,
    peer_disagreement,
    prediction_entropy,
)

LABEL = torch.tensor([0, 1, 2, 3, 0, 1])


def logits(num: int = 6, classes: int = 4, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(num, classes, generator=random, dtype=torch.float64)


def test_focal_on_paper() -> None:
    even = torch.zeros(1, 4, dtype=torch.float64)
    found = focal_cross_entropy(even, torch.tensor([2]), gamma=2.0)
    assert found.item() == pytest.approx(0.75**2 * math.log(4))


def test_focal_without_gamma_is_cross_entropy() -> None:
    wanted = functional.cross_entropy(logits(), LABEL, reduction="none")
    assert torch.allclose(focal_cross_entropy(logits(), LABEL), wanted)


def test_focal_of_what_is_surely_right_or_wrong() -> None:
    sure = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    for gamma in (0.0, 0.5, 1.0, 2.0):
        assert focal_cross_entropy(sure, torch.tensor([0]), gamma).item() == 0
        wrong = focal_cross_entropy(sure, torch.tensor([1]), gamma)
        assert wrong.item() == pytest.approx(2000)
        (gradient,) = torch.autograd.grad(
            focal_cross_entropy(sure, torch.tensor([0]), gamma).sum(), sure
        )
        assert torch.isfinite(gradient).all()


def test_entropy_on_paper_and_of_extremes() -> None:
    assert torch.allclose(prediction_entropy(torch.zeros(3, 4)), torch.full((3,), math.log(4)))
    assert prediction_entropy(torch.tensor([[1000.0, -1000.0]])).item() == 0.0


def test_entropy_agrees_with_torch_distributions() -> None:
    wanted = torch.distributions.Categorical(logits=logits()).entropy()
    assert torch.allclose(prediction_entropy(logits()), wanted)


def test_adversaries_on_paper() -> None:
    source, target = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 2.0])
    at_source, at_target = least_squares_adversary(source, target)
    assert at_source.tolist() == [0.0, 0.25]
    assert at_target.tolist() == [0.0, 4.0]
    at_source, at_target = binary_adversary(torch.zeros(2), torch.tensor([0.0, 1000.0]))
    assert at_source.tolist() == pytest.approx([math.log(2)] * 2)
    assert at_target.tolist() == pytest.approx([math.log(2), 1000.0])


def test_the_binary_adversary_is_torchs() -> None:
    source, target = logits()[:, 0], logits()[:4, 1]
    at_source, at_target = binary_adversary(source, target)
    loss = functional.binary_cross_entropy_with_logits
    assert torch.allclose(at_source, loss(source, torch.ones_like(source), reduction="none"))
    assert torch.allclose(at_target, loss(target, torch.zeros_like(target), reduction="none"))


def test_confusion_of_a_guess_and_of_certainty() -> None:
    for is_by_share in (False, True):
        found = class_confusion(torch.zeros(8, 4), is_by_share=is_by_share)
        assert found.item() == pytest.approx(0.75)
        sure = class_confusion(1e4 * torch.eye(4), is_by_share=is_by_share)
        assert sure.item() == pytest.approx(0, abs=1e-6)


def test_confusion_as_its_authors_write_it() -> None:
    p = functional.softmax(logits() / 2.5, dim=1).numpy()
    weight = 1 + np.exp((p * np.log(p)).sum(axis=1))
    weight = weight / weight.sum() * len(p)
    together = sum(w * np.outer(row, row) for w, row in zip(weight, p, strict=True))
    share = together / together.sum(axis=1, keepdims=True)
    wanted = (share.sum() - np.trace(share)) / 4
    assert class_confusion(logits()).item() == pytest.approx(wanted)
    answers = functional.softmax(logits(), dim=1).numpy().mean(axis=0)
    wanted = (answers * (1 - np.diag(share))).sum()
    assert class_confusion(logits(), is_by_share=True).item() == pytest.approx(wanted)


def test_a_class_that_hardly_occurs_confuses_less_where_shares_count() -> None:
    """Ninety-nine sure answers, and a doubtful one that is half of another class."""
    logits_BC = torch.tensor([[8.0, -8.0]] * 99 + [[0.0, 0.0]])
    alike, by_share = (class_confusion(logits_BC, is_by_share=way) for way in (False, True))
    assert alike > 0.2 and by_share < 0.02


def test_confusion_by_share_teaches() -> None:
    def loss(x: torch.Tensor) -> torch.Tensor:
        return class_confusion(x, is_by_share=True)

    values = logits().clone().requires_grad_(True)
    (found,) = torch.autograd.grad(loss(values), values)
    assert torch.isfinite(found).all() and found.abs().max() > 0


def test_covariance_is_numpys_and_weights_repeat_rows() -> None:
    assert np.allclose(covariance(logits()).numpy(), np.cov(logits().numpy().T))
    twice = torch.cat([logits(), logits()[:2]])
    weight = torch.tensor([2.0, 2, 1, 1, 1, 1], dtype=torch.float64)
    found, wanted = covariance(logits(), weight) / (6 / 5), covariance(twice) / (8 / 7)
    assert torch.allclose(found, wanted)


def test_coral_on_paper() -> None:
    source = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    target = torch.zeros(2, 2, dtype=torch.float64)
    assert coral(source, target).item() == pytest.approx(2.0**2 / (4 * 2**2))
    assert coral(source + 5, source).item() == pytest.approx(0)  # means do not matter


def test_mmd_of_equal_and_of_far_batches() -> None:
    assert mmd(logits(), logits()).item() == pytest.approx(0, abs=1e-12)
    assert mmd(logits(), logits() + 100).item() > 0.5
    torch.testing.assert_close(
        mmd(torch.zeros(3, 2), torch.zeros(2, 2)), torch.zeros(())
    )  # no width


def test_mmd_by_pairs() -> None:
    source, target = logits(4, 3), logits(5, 3, seed=1)
    every = torch.cat([source, target])
    width = torch.cdist(every, every).square().mean()

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        square = torch.cdist(x, y).square()
        kernels = [(-square / (b * width)).exp().mean().item() for b in (0.25, 0.5, 1, 2, 4)]
        return float(np.mean(kernels))

    wanted = kernel(source, source) + kernel(target, target) - 2 * kernel(source, target)
    assert mmd(source, target).item() == pytest.approx(wanted)


def test_consistency_counts_what_the_teacher_is_sure_of() -> None:
    teacher = torch.tensor([[5.0, 0.0], [0.1, 0.0]], requires_grad=True)
    student = torch.zeros(2, 2, requires_grad=True)
    found = consistency(student, teacher, 0.9)
    assert found.tolist() == pytest.approx([math.log(2), 0.0])
    found.sum().backward()
    assert teacher.grad is None
    assert student.grad is not None and student.grad[1].abs().max() == 0


def test_peers_that_agree_and_that_do_not() -> None:
    assert peer_disagreement(logits(), logits()).abs().max() < 1e-12
    apart = peer_disagreement(torch.tensor([[1e3, -1e3]]), torch.tensor([[-1e3, 1e3]]))
    assert apart.item() == pytest.approx(2 * math.log(2))


def test_labels_noted_without_mistakes_and_by_chance() -> None:
    exact = 1e3 * torch.eye(4, dtype=torch.float64)
    found = noisy_log_probabilities(logits(), exact)
    assert torch.allclose(found, functional.log_softmax(logits(), dim=1))
    found = noisy_log_probabilities(logits(), torch.zeros(4, 4, dtype=torch.float64))
    assert torch.allclose(found, torch.full_like(found, -math.log(4)))


def test_noted_labels_pass_no_second_softmax() -> None:
    """As probabilities: p @ softmax(Q), which sums to one as it is."""
    noise = logits(4, 4, seed=2)
    wanted = functional.softmax(logits(), dim=1) @ functional.softmax(noise, dim=1)
    assert torch.allclose(noisy_log_probabilities(logits(), noise).exp(), wanted)
    assert torch.allclose(wanted.sum(dim=1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: focal_cross_entropy(x, LABEL, 2.0),
        prediction_entropy,
        lambda x: torch.stack([*least_squares_adversary(x[:, 0], x[:, 1])]),
        lambda x: torch.stack([*binary_adversary(x[:, 0], x[:, 1])]),
        lambda x: coral(x, logits(5, seed=1)),
        lambda x: consistency(x, 5 * logits(seed=1), 0.5),
        lambda x: peer_disagreement(x, logits(seed=1)),
        lambda x: noisy_log_probabilities(x, logits(4, 4, seed=2)),
    ],
)
def test_gradients(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, logits().requires_grad_())


@pytest.mark.parametrize("loss", [class_confusion, lambda x: mmd(x, logits(5, seed=1))])
def test_gradients_where_a_factor_is_held(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The factor follows the values, so gradients are not exact; against them the loss falls."""
    x = logits().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 1e-6
    step = x.detach() - 0.05 * gradient / gradient.norm()
    assert loss(step) < loss(x)
