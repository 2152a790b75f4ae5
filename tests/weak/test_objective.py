"""The slides' own grades beside those of tiles, in the loss of a method that looks at tiles."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from pathology.weak.bag import BagBatch, BagOutput
from pathology.weak.config import OF_SLIDES, WeakConfig
from pathology.weak.network import bag_network
from pathology.weak.objective import loss_terms, slide_term
from pathology.weak.pooling import pooled


def config(method: str = "rce-ut", **more: object) -> WeakConfig:
    return WeakConfig.model_validate({"grades": ("a", "b", "c"), "method": method, **more})


def batch(num_tiles: int = 4) -> BagBatch:
    shape = (2, num_tiles)
    rows = torch.arange(2 * num_tiles).reshape(shape)
    return BagBatch(
        torch.randn(*shape, 8), torch.tensor([0, 2]), torch.ones(shape), rows, torch.full(shape, -1)
    )


def test_on_paper() -> None:
    """Of four tiles half are pooled, those that give most to each grade by itself."""
    tiles = torch.tensor([[[0.0, 4.0, 0.0], [2.0, 0.0, 0.0], [1.0, 2.0, 0.0], [4.0, 0.0, 0.0]]])
    slide = pooled(tiles, "topk", 0.5)
    assert slide.tolist() == [[3.0, 3.0, 0.0]]
    expected = -math.log(math.exp(3) / (2 * math.exp(3) + 1))
    assert slide_term(0.5, slide, torch.tensor([1])).item() == pytest.approx(0.5 * expected)


@pytest.mark.parametrize("method", OF_SLIDES)
def test_it_adds_a_term_and_leaves_the_others_alone(method: str) -> None:
    given = batch()
    tiles = torch.randn(2, 4, 3)
    output = BagOutput(tiles, pooled(tiles, "topk", 0.5))
    plain = loss_terms(config(method), output, given)
    more = loss_terms(config(method, slide_weight=0.25), output, given)
    assert "slide" not in plain
    assert {n: float(v) for n, v in more.items() if n != "slide"} == {
        n: float(v) for n, v in plain.items()
    }
    wanted = 0.25 * functional.cross_entropy(output.slide_BC, given.label_B)
    assert float(more["slide"]) == pytest.approx(float(wanted))


def test_its_gradient_reaches_the_tiles_that_were_pooled_alone() -> None:
    tiles = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([1, 2])

    def loss(given: torch.Tensor) -> torch.Tensor:
        return slide_term(2.0, pooled(given, "topk", 0.5), label)

    assert torch.autograd.gradcheck(loss, (tiles,))
    (found,) = torch.autograd.grad(loss(tiles), tiles)
    slide = pooled(tiles, "topk", 0.5).detach()
    wrong = slide.softmax(dim=1) - functional.one_hot(label, 3)  # of a mean over 2 slides, times 2
    is_pooled = tiles >= tiles.topk(2, dim=1).values[:, -1:]
    assert torch.allclose(found, torch.where(is_pooled, wrong[:, None] / 2, 0.0))


def test_it_teaches_a_network_its_slides() -> None:
    torch.manual_seed(0)
    settings = config("ce", slide_weight=1.0, width=0, dropout=0.0)
    network, given, losses = bag_network(settings, 8), batch(), []
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(5):
        term = loss_terms(settings, network(given.tiles_BNF), given)["slide"]
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
        losses.append(term.item())
    assert all(after < before for before, after in pairwise(losses))


@pytest.mark.parametrize("method", ["oracle", "abmil", "topk"])
def test_other_methods_have_no_use_for_it(method: str) -> None:
    with pytest.raises(ValueError, match=f"slide_weight does not go with method {method}"):
        config(method, slide_weight=0.5)
    assert config(method, slide_weight=0).slide_weight == 0
