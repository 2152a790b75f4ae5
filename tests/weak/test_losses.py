"""Every loss: a value known on paper, an extreme input, an identity, its gradient."""

import math

import pytest
import torch

from pathology.weak.losses import (
    forward_cross_entropy,
    ordinal_logits,
    rectified_cross_entropy,
    slide_grades,
    upper_transition,
    upper_transition_by_class,
)

torch.manual_seed(0)
UPPER = (upper_transition, upper_transition_by_class)


def logits(num: int = 6, classes: int = 4, double: bool = False) -> torch.Tensor:
    return torch.randn(num, classes, dtype=torch.float64 if double else torch.float32)


def test_rectified_on_paper() -> None:
    found = rectified_cross_entropy(
        torch.zeros(3, 4), torch.tensor([0, 1, 3]), torch.tensor([1.0, 0.5, 0.0])
    )
    assert torch.allclose(found, math.log(4) * torch.tensor([1.0, 0.5, 0.0]))


def test_rectified_with_weight_one_is_cross_entropy() -> None:
    scores, label = logits(), torch.tensor([0, 1, 2, 3, 0, 1])
    found = rectified_cross_entropy(scores, label, torch.ones(6)).mean()
    assert torch.allclose(found, torch.nn.functional.cross_entropy(scores, label))


def test_no_gradient_reaches_the_weights() -> None:
    weight = torch.ones(6, requires_grad=True)
    scores = logits().requires_grad_()
    rectified_cross_entropy(scores, torch.zeros(6, dtype=torch.long), weight).sum().backward()
    assert weight.grad is None
    assert scores.grad is not None


def test_rectified_of_a_left_out_tile_is_zero_however_wrong() -> None:
    found = rectified_cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([1]), torch.zeros(1))
    assert found.item() == 0


@pytest.mark.parametrize("loss", UPPER)
def test_upper_of_the_top_grade_is_zero(loss: object) -> None:
    assert loss(logits(), torch.full((6,), 3)).abs().max() < 1e-6  # type: ignore[operator]


def test_upper_on_paper() -> None:
    even = torch.zeros(1, 4)
    assert upper_transition(even, torch.tensor([1])).item() == pytest.approx(-math.log(1 - 2 / 4))
    by_class = upper_transition_by_class(even, torch.tensor([1])).item()
    assert by_class == pytest.approx(-2 * math.log(1 - 1 / 4))


def test_both_forms_agree_where_one_class_lies_above() -> None:
    scores, label = logits(), torch.full((6,), 2)
    one, other = (loss(scores, label) for loss in UPPER)
    assert torch.allclose(one, other, atol=1e-6)


def test_upper_agrees_with_probabilities() -> None:
    scores = logits(8, 3, double=True)
    label = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    p = scores.softmax(dim=1)
    above = torch.arange(3) > label[:, None]
    mass = -torch.log(1 - (p * above).sum(dim=1))
    by_class = -(torch.log(1 - p) * above).sum(dim=1)
    assert torch.allclose(upper_transition(scores, label), mass)
    assert torch.allclose(upper_transition_by_class(scores, label), by_class)


def test_upper_survives_extreme_logits() -> None:
    sure = torch.tensor([[-1e4, -1e4, 1e4]], requires_grad=True)
    for loss in UPPER:
        found = loss(sure, torch.tensor([0]))
        (gradient,) = torch.autograd.grad(found.sum(), sure)
        assert found.item() == pytest.approx(2e4, abs=1)
        assert gradient.isfinite().all()
        assert loss(-sure, torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", UPPER)
def test_upper_pushes_mass_down_and_nothing_else(loss: object) -> None:
    scores = logits().requires_grad_()
    loss(scores, torch.full((6,), 1)).sum().backward()  # type: ignore[operator]
    assert scores.grad is not None
    assert (scores.grad[:, :2] < 0).all()
    assert (scores.grad[:, 2:].sum(dim=1) > 0).all()
    if loss is upper_transition:  # class by class, one above may rise at the cost of another
        assert (scores.grad[:, 2:] > 0).all()


@pytest.mark.parametrize("loss", UPPER)
def test_gradients(loss: object) -> None:
    scores, label = logits(double=True).requires_grad_(), torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.autograd.gradcheck(lambda x: loss(x, label), scores)  # type: ignore[operator]
    weight = torch.rand(6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: rectified_cross_entropy(x, label, weight), scores)


def test_ordinal_on_paper() -> None:
    found = ordinal_logits(torch.zeros(1, 3)).exp()
    assert torch.allclose(found, torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]]))


def test_ordinal_is_normalized_and_ordered() -> None:
    steps = torch.randn(20, 3, dtype=torch.float64)
    p = ordinal_logits(steps).exp()
    assert torch.allclose(p.sum(dim=1), torch.ones(20, dtype=torch.float64))
    beyond = p.flip(1).cumsum(1).flip(1)[:, 1:]
    assert torch.allclose(beyond, steps.sigmoid().cumprod(dim=1))


def test_ordinal_survives_extreme_steps() -> None:
    found = ordinal_logits(torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True))
    assert found.isfinite().all()
    assert found[0].argmax() == 1
    assert found[1].argmax() == 0


def test_ordinal_gradient() -> None:
    steps = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ordinal_logits, steps)


def test_slides_of_a_grade_hold_what_the_grade_below_holds_beside_it() -> None:
    found = slide_grades((1.0, 0.5, 0.2))
    # on slides: healthy (1, 0, 0), adenoma (.5, .5, 0), carcinoma (.4, .4, .2)
    wanted = [[1 / 1.9, 0.5 / 1.9, 0.4 / 1.9], [0, 0.5 / 0.9, 0.4 / 0.9], [0, 0, 1]]
    assert torch.allclose(found, torch.tensor(wanted))
    assert torch.equal(slide_grades((1.0, 1.0, 1.0)), torch.eye(3))  # nothing but its own grade


def test_forward_on_paper() -> None:
    even, grade = torch.zeros(3, 3), slide_grades((1.0, 0.5, 0.2))
    found = forward_cross_entropy(even, torch.tensor([0, 1, 2]), grade)
    assert torch.allclose(found, -(grade.sum(dim=0) / 3).log())


def test_forward_of_slides_of_one_grade_is_cross_entropy() -> None:
    scores, label = logits(), torch.tensor([0, 1, 2, 3, 0, 1])
    found = forward_cross_entropy(scores, label, torch.eye(4)).mean()
    assert torch.allclose(found, torch.nn.functional.cross_entropy(scores, label))


def test_forward_where_grades_tell_nothing_is_the_upper_transition() -> None:
    scores, label = logits(), torch.tensor([0, 1, 2, 3, 0, 1])
    found = forward_cross_entropy(scores, label, torch.triu(torch.ones(4, 4)))
    assert torch.allclose(found, upper_transition(scores, label), atol=1e-6)


def test_forward_of_what_is_impossible_is_large_and_no_more() -> None:
    scores = torch.tensor([[-1e4, 0.0, 1e4]], requires_grad=True)
    loss = forward_cross_entropy(scores, torch.tensor([0]), slide_grades((1.0, 0.3, 0.3)))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and loss.item() > 1e4
    assert scores.grad is not None and torch.isfinite(scores.grad).all()
    assert scores.grad[0, 0] < 0 < scores.grad[0, 2]


def test_forward_gradient() -> None:
    scores, label = logits(double=True).requires_grad_(), torch.tensor([0, 1, 2, 3, 0, 1])
    grade = slide_grades((1.0, 0.3, 0.3, 0.3)).double()
    assert torch.autograd.gradcheck(lambda x: forward_cross_entropy(x, label, grade), scores)
