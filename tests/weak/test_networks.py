"""Every method's network: shapes, what order and company may change, and that it learns."""

import numpy as np
import pytest
import torch
from torch import nn

from pathology.weak.attention import AttentionBag, Clam
from pathology.weak.bag import BagBatch, BagOutput
from pathology.weak.config import BY_TILE, WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pathology.weak.objective import loss_terms
from pathology.weak.pooling import PooledTiles, pooled
from pathology.weak.rectify import discriminative_weights

GRADES = ("healthy", "adenoma", "carcinoma")
METHODS = (
    "rce-ut", "rce", "ut", "ce", "forward", "mean", "max", "topk", "em", "abmil", "clam-sb",
    "clam-mb", "dsmil", "transmil", "oracle",
)  # fmt: skip
OF_BAGS = [m for m in METHODS if m not in BY_TILE]


def config(method: str, **more: object) -> WeakConfig:
    return WeakConfig.model_validate({"grades": GRADES, "method": method, "width": 32, **more})


def network(method: str, **more: object) -> nn.Module:
    torch.manual_seed(0)
    return bag_network(config(method, **more), 16).eval()


def batch_of(features: torch.Tensor, label: torch.Tensor, truth: torch.Tensor) -> BagBatch:
    shape = features.shape[:2]
    rows = torch.arange(shape.numel()).reshape(shape)
    return BagBatch(features, label, torch.ones(shape), rows, truth)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_tiles", [1, 2, 7, 9])
def test_scores_of_tiles_and_slides(method: str, num_tiles: int) -> None:
    output: BagOutput = network(method)(torch.randn(4, num_tiles, 16))
    assert output.tile_BNC.shape == (4, num_tiles, 3)
    assert output.slide_BC.shape == (4, 3)
    if output.attention_BKN is not None:
        assert torch.allclose(output.attention_BKN.sum(dim=2), torch.tensor(1.0))


@pytest.mark.parametrize("method", [m for m in METHODS if m != "transmil"])  # which sees places
def test_the_order_of_tiles_does_not_matter(method: str) -> None:
    features, order = torch.randn(2, 12, 16), torch.randperm(12)
    one, other = (network(method)(x) for x in (features, features[:, order]))
    assert torch.allclose(one.slide_BC, other.slide_BC, atol=1e-5)
    assert torch.allclose(one.tile_BNC[:, order], other.tile_BNC, atol=1e-5)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "transmil"])
def test_a_tile_is_scored_the_same_in_any_company(method: str) -> None:
    features = torch.randn(1, 12, 16)
    whole, alone = network(method)(features), network(method)(features[:, :1])
    assert torch.allclose(whole.tile_BNC[:, :1], alone.tile_BNC, atol=1e-5)


def test_pooling_on_paper() -> None:
    logits = torch.tensor([[[0.0, 4.0], [2.0, 0.0], [1.0, 2.0], [5.0, 0.0]]])
    assert pooled(logits, "mean").tolist() == [[2.0, 1.5]]
    assert pooled(logits, "max").tolist() == [[5.0, 4.0]]
    assert pooled(logits, "topk", 0.5).tolist() == [[3.5, 3.0]]
    assert torch.equal(pooled(logits, "topk", 0.01), pooled(logits, "max"))
    assert torch.allclose(pooled(logits, "topk", 1.0), pooled(logits, "mean"))


def test_even_attention_is_the_mean() -> None:
    bag = AttentionBag(16, 3, width=32, dropout=0.0).eval()
    nn.init.zeros_(bag.attention.score.weight)
    features = torch.randn(2, 9, 16)
    mean = bag.head(bag.embed(features).mean(dim=1))
    assert torch.allclose(bag(features).slide_BC, mean, atol=1e-5)


def test_an_ordinal_head_gives_log_probabilities() -> None:
    found: BagOutput = network("rce-ut", is_ordinal=True)(torch.randn(2, 5, 16))
    assert torch.allclose(found.tile_BNC.exp().sum(dim=2), torch.ones(2, 5), atol=1e-5)
    with pytest.raises(ValueError, match="is_ordinal"):
        config("abmil", is_ordinal=True)


def test_clam_learns_from_the_most_and_least_attended_tiles_of_the_label() -> None:
    clam = Clam(16, 3, width=8, dropout=0.0, is_multi_branch=True, num_instances=1)
    features = torch.randn(1, 4, 8)
    attention = torch.zeros(1, 3, 4)
    attention[0, 2] = torch.tensor([0.1, 0.7, 0.0, 0.2])
    found = clam.instance_loss(features, attention, torch.tensor([2]))
    wanted = nn.functional.cross_entropy(
        clam.instance[2](features[0, [1, 2]]), torch.tensor([1, 0])
    )
    assert torch.allclose(found, wanted)


def test_either_stream_of_dsmil_is_taught_by_itself() -> None:
    """Li et al., CVPR 2021: half the loss is of the attended stream, half of the greatest tile."""
    bags = torch.randn(2, 5, 16)
    output = network("dsmil")(bags)
    label = torch.tensor([0, 2])
    critical = output.tile_BNC.amax(dim=1)
    attended = 2 * output.slide_BC - critical
    found = loss_terms(config("dsmil"), output, batch_of(bags, label, torch.full((2, 5), -1)))
    for name, logits in (("slide", attended), ("instance", critical)):
        wanted = 0.5 * nn.functional.cross_entropy(logits, label)
        assert torch.allclose(found[name], wanted)


def toy_bags(num: int, random: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Slides of 16 tiles: a quarter of their grade, the others healthy; grades lie apart."""
    label = np.arange(num) % 3
    truth = np.where(np.arange(16) < 4, label[:, None], 0)
    centres = np.eye(3, 16)[truth] * 4
    features = centres + random.normal(size=centres.shape)
    return (
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(label),
        torch.tensor(truth),
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_what_can_be_learned(method: str) -> None:
    random = np.random.default_rng(0)
    settings = config(method, dropout=0.0)
    torch.manual_seed(0)
    model = BagClassifier(bag_network(settings, 16))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        features, label, truth = toy_bags(12, random)
        batch = batch_of(features, label, truth)
        if method in ("rce", "rce-ut", "em"):  # as if scores were known
            batch = batch._replace(weight_BN=(truth == label[:, None]).float())
        terms = loss_terms(settings, model(features, label), batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    features, label, truth = toy_bags(60, random)
    with torch.inference_mode():
        output: BagOutput = model.eval()(features)
    if method in OF_BAGS:
        assert (output.slide_BC.argmax(dim=1) == label).float().mean() > 0.8
    if method in ("rce", "rce-ut", "em", "forward", "oracle"):
        assert (output.tile_BNC.argmax(dim=2) == truth).float().mean() > 0.9


def test_the_upper_transition_lowers_grades_above_the_slides() -> None:
    features, label, truth = toy_bags(9, np.random.default_rng(0))
    bag = PooledTiles(16, 3, width=0, dropout=0.0)
    output = bag(features)
    terms = loss_terms(config("ut"), output, batch_of(features, label, truth))
    assert set(terms) == {"tile", "upper"}
    by_class = config("ut", upper={"weight": 2.0, "form": "class"})
    other = loss_terms(by_class, output, batch_of(features, label, truth))
    assert other["upper"] > terms["upper"]
    assert torch.equal(other["tile"], terms["tile"])


def test_forward_warms_up_as_cross_entropy() -> None:
    features, label, truth = toy_bags(9, np.random.default_rng(0))
    bag, batch = PooledTiles(16, 3, width=0, dropout=0.0), batch_of(features, label, truth)
    output = bag(features)
    plain = loss_terms(config("ce"), output, batch)["tile"]
    cold, warm = (
        loss_terms(config("forward"), output, batch, is_warm=is_warm)["tile"]
        for is_warm in (False, True)
    )
    assert torch.allclose(cold, plain) and not torch.allclose(warm, plain)


def test_an_oracle_without_truth_learns_nothing() -> None:
    features, label, truth = toy_bags(3, np.random.default_rng(0))
    bag = PooledTiles(16, 3, width=0, dropout=0.0)
    unknown = batch_of(features, label, torch.full_like(truth, -1))
    loss = loss_terms(config("oracle"), bag(features), unknown)["tile"]
    loss.backward()
    assert loss.item() == 0
    assert bag.head.weight.grad is not None and not bag.head.weight.grad.any()


def test_discriminative_tiles_reach_the_lower_percentile() -> None:
    scores = np.array([0.9, 0.1, 0.5, 0.4, 0.3, 0.2])
    slide, grade = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
    assert discriminative_weights(scores, slide, grade, (0, 0.5)).tolist() == [1, 1, 1, 1, 0, 0]
    slide = np.array([0, 0, 1, 1, 2, 2])
    # of slide 1 the percentile is 0.45, of all of the grade 0.35: 0.4 may stay
    assert discriminative_weights(scores, slide, grade, (0, 0.5)).tolist() == [1, 1, 1, 1, 1, 0]


def test_settings_that_make_no_sense() -> None:
    for wrong in (
        {"grades": ("a", "a")}, {"grades": ("a",)}, {"rectify": {"low": (0.1, 0.2)}},
        {"rectify": {"up": (1.5,)}}, {"share": (0.1, 0.2)}, {"share": (0.0,)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"grades|rectify|at least 2|share"):
            WeakConfig.model_validate({"grades": GRADES, **wrong})
    assert config("rce").by_grade((0.4,)) == (0.4, 0.4, 0.4)
