"""The networks and the step of adaptation on toy features of two domains."""

import numpy as np
import pytest
import torch

from pathology.adapt import losses
from pathology.adapt.balance import PSEUDO_TILES, FeatureBalance, shrunk
from pathology.adapt.batch import DomainBatch
from pathology.adapt.config import AdaptConfig
from pathology.adapt.methods import METHODS
from pathology.adapt.network import (
    SOURCE,
    TARGET,
    DomainClassifier,
    Judge,
    weighted_statistics,
)
from pathology.adapt.prior import mean_one
from pathology.adapt.step import WAIT, AdaptStep

NUM, SHIFT = 8, 1.5
SMALL = {"width": 16, "judge_width": 16, "steps": 60, "batch_size": 32, "learning_rate": 0.003}


def features(num: int, seed: int, *, is_target: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes along the first feature; the target is moved along it, and turned a little."""
    random = np.random.default_rng(seed)
    label = random.integers(2, size=num)
    made = random.normal(size=(num, NUM)).astype(np.float32)
    made[:, 0] += 4 * label - 2
    if is_target:
        made[:, 0] += SHIFT
        made[:, 1] += 0.5 * made[:, 0]
    return torch.from_numpy(made), torch.from_numpy(label)


def batch(step: int, num: int = 32, num_target: int = 24, *, is_known: bool = False) -> DomainBatch:
    source, label = features(num, 2 * step, is_target=False)
    target, label_t = features(num_target, 2 * step + 1, is_target=True)
    unknown = torch.full_like(label_t, -1)
    return DomainBatch(source, label, torch.ones(num), target, label_t if is_known else unknown)


def new_step(**settings: object) -> AdaptStep:
    config = AdaptConfig.model_validate({**SMALL, **settings})
    torch.manual_seed(config.seed)
    is_pair = config.term_weights().is_pair
    model = DomainClassifier(NUM, 2, config.width, config.dropout, is_pair=is_pair)
    return AdaptStep(config, model, torch.ones(2))


def accuracy(step: AdaptStep) -> float:
    x, label = features(2000, 999_999, is_target=True)
    with torch.no_grad():
        return float((step.averaged(x, TARGET).logits_BC.argmax(dim=1) == label).float().mean())


@pytest.mark.parametrize("method", [*sorted({*METHODS} - {"mic"}), "dman+mcc", "cdan+mcc+sdat"])
def test_every_method_learns_what_the_source_teaches(method: str) -> None:
    step = new_step(method=method)
    for number in range(60):
        values = step(batch(number, is_known=method == "target"), number)
        assert all(np.isfinite(value) for value in values.values())
    assert accuracy(step) > 0.7
    assert ("adversary" in values) == any(
        name in method for name in ("dann", "cdan", "dman", "couda")
    )
    assert ("target" in values) == (method == "target")


def test_labels_of_the_target_are_learned_from_where_they_are_known() -> None:
    plain, told = new_step(method="source"), new_step(method="source")
    for number in range(60):
        plain(batch(number), number)
        told(batch(number, is_known=True), number)
    assert accuracy(told) > accuracy(plain) + 0.02


@pytest.mark.parametrize("method", ["dman+mcc", "couda"])
def test_stopped_and_gone_on_with_to_the_very_same_weights(method: str) -> None:
    whole = new_step(method=method)
    for number in range(20):
        whole(batch(number), number)
    first, second = new_step(method=method), new_step(method=method, seed=0)
    for number in range(10):
        first(batch(number), number)
    second.load_state_dict(first.state_dict())
    for number in range(10, 20):
        second(batch(number), number)
    for name, value in whole.networks.state_dict().items():
        assert torch.equal(value, second.networks.state_dict()[name]), name
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, second.averaged.state_dict()[name]), name


def test_source_examples_of_no_weight_do_not_reach_the_judge() -> None:
    """As if they were not there: what is compared between domains follows the weights."""
    some = batch(0)
    half = some._replace(weight_S=torch.cat([torch.ones(16), torch.zeros(16)]))
    moved = half._replace(source=torch.cat([half.source[:16], half.source[16:] + 50]))
    for method in ("dann", "dman", "coral"):  # kernels of mmd are as wide as all lie apart
        found = []
        for each in (half, moved):
            step = new_step(method=method, dropout=0.0, terms={"adversary_loss": "binary"})
            values = step(each, 30)
            found.append({k: v for k, v in values.items() if k in ("adversary", "coral")})
        assert found[0]
        assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)


def label_loss(weight_S: torch.Tensor, some: DomainBatch) -> float:
    step = new_step(method="source", dropout=0.0, terms={"focal": 1.0})
    return step(some._replace(weight_S=weight_S), 0)["label"]


def test_the_label_loss_counts_each_tile_by_its_weight() -> None:
    some = batch(0)
    step = new_step(method="source", dropout=0.0, terms={"focal": 1.0})
    logits_SC = step.model.train()(some.source, SOURCE).logits_BC
    loss_S = losses.focal_cross_entropy(logits_SC, some.label_S, 1.0).detach()
    assert label_loss(torch.ones(32), some) == pytest.approx(loss_S.mean().item(), rel=1e-6)
    weight = np.random.default_rng(0).uniform(0.5, 3, 32)
    one, twice = (torch.from_numpy(mean_one(w)).float() for w in (weight, 2 * weight))
    wanted = (torch.from_numpy(weight) * loss_S).sum() / weight.sum()
    assert label_loss(one, some) == pytest.approx(wanted.item(), rel=1e-5)
    assert label_loss(twice, some) == label_loss(one, some)
    few = some._replace(source=some.source[:20], label_S=some.label_S[:20])
    next_to_none = torch.from_numpy(mean_one(np.r_[np.ones(20), np.full(12, 1e-9)])).float()
    left_out = label_loss(torch.ones(20), few)
    assert label_loss(next_to_none, some) == pytest.approx(left_out, rel=1e-5)


@pytest.mark.parametrize("is_part", [False, True])
def test_an_example_of_weight_two_is_like_two_examples(is_part: bool) -> None:
    """For the shares of classes, and for the statistics that the domains are normalized by."""
    source, label = (x.numpy() for x in features(400, 1, is_target=False))
    target = features(300, 2, is_target=True)[0].numpy()
    twice = np.r_[np.arange(400), np.flatnonzero(label == 1)]
    weight_N = mean_one(1.0 + label)
    settings = {**SMALL, "method": "mcc", "normalization": "separate", "terms": {"balance": 0.5}}
    config = AdaptConfig.model_validate(settings)
    parts = (label[twice],) if is_part else ()
    every = {"every_M": label, "every_weight_M": weight_N} if is_part else {}
    balances = (
        FeatureBalance(source[twice], label[twice], target, 2, config, *parts),
        FeatureBalance(source, label, target, 2, config, weight_N=weight_N, **every),
    )
    step, found = new_step(method="source"), []
    for number in range(60):
        step(batch(number), number)
    plain = FeatureBalance(source, label, target, 2, config)
    for each in (*balances, plain):
        made = each(step.averaged, torch.tensor([0.9, 1.1]), 50)
        assert made.statistics is not None
        found.append([made.ratio_C.numpy(), *made.statistics[0], *made.statistics[1]])
    for one, other, third in zip(*found, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)
        assert not np.allclose(one, third, rtol=1e-3)


def test_the_judge_tells_the_domains_apart() -> None:
    torch.manual_seed(0)
    judge = Judge(NUM, 2, 32, is_conditional=False)
    optimizer = torch.optim.AdamW(judge.parameters(), 0.01)
    for number in range(80):
        b = batch(number)
        one, other = (judge(x, torch.zeros(len(x), 2)) for x in (b.source, b.target))
        loss = ((one - 1) ** 2).mean() + (other**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4  # 0.5 is a guess


def test_a_conditional_judge_sees_features_times_probabilities() -> None:
    judge = Judge(3, 2, 8, is_conditional=True)
    hidden = torch.randn(4, 3)
    sure = torch.tensor([[50.0, -50.0]]).expand(4, -1)
    flat = torch.cat([hidden[:, :, None], torch.zeros(4, 3, 1)], dim=2).flatten(1)
    assert torch.allclose(judge(hidden, sure), judge.layers(flat)[:, 0], atol=1e-6)
    logits = torch.randn(4, 2, requires_grad=True)
    judge(hidden, logits).sum().backward()
    assert logits.grad is None  # the classes are given, not learned from


@pytest.mark.parametrize("width", [0, 16])
@pytest.mark.parametrize("is_pair", [False, True])
def test_a_classifier_of_one_domain_is_a_plain_head(width: int, is_pair: bool) -> None:
    torch.manual_seed(0)
    model = DomainClassifier(NUM, 3, width, 0.5, is_pair=is_pair).eval()
    random = np.random.default_rng(0)
    for domain in (SOURCE, TARGET):
        model.set_statistics(domain, (random.normal(size=NUM), random.random(NUM) + 0.1))
    x = torch.randn(20, NUM)
    for domain in (SOURCE, TARGET):
        wanted = model(x, domain).logits_BC
        assert torch.allclose(model.folded(domain)(x), wanted, atol=1e-5)
        like = DomainClassifier(NUM, 3, width, 0.5, is_pair=is_pair).eval()
        like.set_statistics(domain, (np.full(NUM, 0.3), np.full(NUM, 2.0)))
        like.unfold(model.folded(domain).state_dict(), domain)
        assert torch.allclose(like(x, domain).logits_BC, wanted, atol=1e-5)
    assert not torch.allclose(model(x, SOURCE).logits_BC, model(x, TARGET).logits_BC)


def test_statistics_are_numpys_and_constant_features_do_no_harm() -> None:
    random = np.random.default_rng(0)
    x = random.normal(3, 2, (100, NUM)).astype(np.float32)
    mean, var = weighted_statistics(x)
    assert np.allclose(mean, x.mean(axis=0), atol=1e-5)
    assert np.allclose(var, x.var(axis=0), atol=1e-4)
    twice, _ = weighted_statistics(x[:50], np.r_[np.full(25, 2.0), np.ones(25)])
    assert np.allclose(twice, np.r_[x[:25], x[:50]].mean(axis=0), atol=1e-5)
    model = DomainClassifier(1, 2, 4, 0.0)
    model.set_statistics(SOURCE, (np.array([5.0]), np.array([0.0])))
    assert torch.isfinite(model(torch.full((3, 1), 5.0), SOURCE).logits_BC).all()


def test_methods_add_up_and_settings_come_on_top() -> None:
    config = AdaptConfig(method="dman+mcc", terms={"entropy": 0.5})
    terms = config.term_weights()
    assert (terms.adversary, terms.adversary_loss, terms.confusion) == (0.1, "least-squares", 1.0)
    assert (terms.entropy, terms.focal) == (0.5, 1.0)
    assert config.normalized_by() == "separate"
    assert AdaptConfig(method="dann").normalized_by() == "source"
    assert AdaptConfig(method="dman", normalization="none").normalized_by() == "none"
    assert AdaptConfig(method="mcc+target").is_supervised
    with pytest.raises(ValueError, match=r"dnan.*none of source"):
        AdaptConfig(method="dnan")
    with pytest.raises(ValueError, match="entrophy"):
        AdaptConfig(terms={"entrophy": 1.0})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_share_of_classes_is_found_while_learning(share: float, seed: int) -> None:
    """The target has few of the second class; the source counts as if it had as few."""
    random = np.random.default_rng(0)
    source, label = (x.numpy() for x in features(2000, 1, is_target=False))
    target, hidden = (x.numpy() for x in features(4000, 2, is_target=True))
    keep = (hidden == 0) | (random.random(4000) < share / (1 - share))
    target = target[keep]
    config = AdaptConfig.model_validate({**SMALL, "method": "mcc", "normalization": "separate"})
    config = config.model_copy(update={"steps": 401})
    torch.manual_seed(seed)
    balance = FeatureBalance(source, label, target, 2, config)
    step = AdaptStep(config, DomainClassifier(NUM, 2, 16, 0.0), torch.ones(2), balance)
    for number in range(401):
        rows = np.random.default_rng([seed, number])
        i, j = rows.integers(len(source), size=32), rows.integers(len(target), size=32)
        step(
            DomainBatch(
                torch.from_numpy(source[i]), torch.from_numpy(label[i]), torch.ones(32),
                torch.from_numpy(target[j]), torch.full((32,), -1),
            ),
            number,
        )  # fmt: skip
    found = float(step.ratio_C[1] * label.mean())
    assert found == pytest.approx(share, abs=0.06)  # it began at one half


def test_the_target_teaches_once_the_shares_of_its_classes_are_found() -> None:
    step = new_step(method="dman+mcc")
    values = [step(batch(number), number) for number in range(60)]
    wait = round(WAIT * 60)
    for name in ("entropy", "confusion"):
        assert all(v[name] == 0 for v in values[: wait + 1])
        assert all(v[name] > 0 for v in values[wait + 1 :])
    assert all(v["adversary"] > 0 for v in values)  # the judge learns from the start


def test_statistics_of_few_tiles_lean_on_the_others() -> None:
    own, others = (np.array([1.0]), np.array([0.0])), (np.array([3.0]), np.array([4.0]))
    mean, var = shrunk(own, int(PSEUDO_TILES), others)
    assert (mean[0], var[0]) == (2.0, 2.0)
    assert np.allclose(shrunk(own, 10**9, others), own, atol=1e-6)
    random = np.random.default_rng(0)
    source = random.normal(0, 2, (1000, 50)).astype(np.float32)
    few = np.zeros((4, 50), np.float32)  # not one of the features varies
    label = random.integers(2, size=1000)
    balance = FeatureBalance(source, label, few, 2, AdaptConfig(method="adabn"))
    model = DomainClassifier(50, 2, 4, 0.0)
    _, (_, found) = balance(model, torch.ones(2), 0).statistics or ((), ((), ()))
    assert np.all(np.asarray(found) > 2.0)  # and none is blown up
