"""A step on pixels: statistics of two domains, masked tiles, rates, averages; on a tiny network."""

import numpy as np
import pytest
import torch
from torch import nn

from pathology.adapt.balance import PSEUDO_TILES, PixelBalance
from pathology.adapt.batch import DomainBatch
from pathology.adapt.config import AdaptConfig
from pathology.adapt.domain_norm import (
    adapt_statistics,
    choose_statistics,
    encoder_of,
    set_target_statistics,
    statistics_of,
    target_statistics,
)
from pathology.adapt.losses import focal_cross_entropy, masked_consistency
from pathology.adapt.masking import draw_shown, masked
from pathology.adapt.network import SOURCE, TARGET, DomainClassifier
from pathology.adapt.step import AdaptStep
from pathology.models.encoder import Encoder

EDGE = 16
SMALL = {
    "width": 8, "judge_width": 8, "steps": 60, "batch_size": 8, "learning_rate": 0.01,
    "encoder_rate": 0.1, "encoder_blocks": None, "dropout": 0.0,
}  # fmt: skip


def encoder(way: str) -> Encoder:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    made = Encoder("tiny", network, ((0.5,) * 3, (0.5,) * 3))
    choose_statistics(made, way)  # type: ignore[arg-type]
    return made


def batch(step: int, num: int = 8) -> DomainBatch:
    """Dark and light tiles; the target's are dimmer."""
    random = np.random.default_rng(step)
    label = random.integers(2, size=(2, num))
    light = (0.3 + 0.4 * label) * np.array([[1.0], [0.7]])
    noise = random.normal(0, 0.05, (2, num, 3, EDGE, EDGE))
    tiles = light[:, :, None, None, None] + noise
    source, target = torch.from_numpy(tiles.astype(np.float32))
    unknown = torch.full((num,), -1)
    shown = draw_shown(random, num, 4, 0.7)
    hidden = masked(target, shown, torch.full((3, 1, 1), 0.5))
    return DomainBatch(source, torch.from_numpy(label[0]), torch.ones(num), target, unknown, hidden)


def new_step(**settings: object) -> AdaptStep:
    config = AdaptConfig.model_validate({**SMALL, **settings})
    made = encoder(config.layers_normalized_by())
    torch.manual_seed(0)
    model = DomainClassifier(made.num_features, 2, config.width, config.dropout, made)
    return AdaptStep(config, model, torch.ones(2))


def norm(model: nn.Module) -> nn.BatchNorm2d:
    return next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("way", ["frozen", "shared", "separate", "adapted"])
@pytest.mark.parametrize("method", ["dman", "mic", "cdan+sdat", "self-training+mcc+target"])
def test_methods_learn_on_pixels(way: str, method: str) -> None:
    step = new_step(method=method, batch_norm=way, clip=1.0, learning_rate=0.03, encoder_rate=1.0)
    for number in range(60):
        values = step(batch(number), number)
        assert all(np.isfinite(value) for value in values.values())
    assert ("masked" in values) == (method == "mic")
    with torch.no_grad():
        seen = batch(999, 64)
        right = step.averaged(seen.source, SOURCE).logits_BC.argmax(dim=1) == seen.label_S
    assert right.float().mean() > 0.8


def test_each_domain_moves_its_own_statistics() -> None:
    made = encoder("separate").train()
    before = norm(made).running_mean.clone()
    seen = batch(0)
    with statistics_of(made, is_source=True):
        made(seen.source)
    assert torch.equal(norm(made).running_mean, before)
    assert not torch.equal(norm(made).source_mean, before)
    with statistics_of(made, is_source=False):
        made(seen.target)
    assert not torch.equal(norm(made).running_mean, before)
    for is_source in (True, False):
        plain = encoder_of(made, is_source=is_source)
        assert not any("source_" in name for name in plain.state_dict())
        wanted = norm(made).source_mean if is_source else norm(made).running_mean
        assert torch.equal(norm(plain).running_mean, wanted)
        with torch.no_grad(), statistics_of(made.eval(), is_source=is_source):
            assert torch.equal(plain(seen.source), made(seen.source))


def deep_encoder() -> Encoder:
    """Two layers that normalize, with statistics of both domains."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3),
        nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    for bn in (network[1], network[4]):
        nn.init.uniform_(bn.weight, 0.5, 2)
        nn.init.uniform_(bn.bias, -1, 1)
    made = Encoder("deep", network, ((0.5,) * 3, (0.5,) * 3))
    choose_statistics(made, "adapted")
    return made


def moments(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3), correction=0)


@torch.no_grad()
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_statistics_are_those_of_the_target_and_the_sources_are_left_alone(share: float) -> None:
    made, target = deep_encoder(), batch(0, 32).target
    layers = list(made.network)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    adapt_statistics(made, [target], share)
    x = (target - made.mean) / made.std
    for conv, bn in ((layers[0], layers[1]), (layers[3], layers[4])):
        x = conv(x)
        mean, var = moments(x)
        assert torch.allclose(bn.running_mean, share * mean, atol=1e-5)  # the source's: 0 and 1
        assert torch.allclose(bn.running_var, share * var + 1 - share, rtol=1e-4)
        x = torch.relu(bn.eval()(x))
    for name, value in made.state_dict().items():
        if "running_" not in name:
            assert torch.equal(value, before[name]), name
    assert not made.training and not any(m._forward_pre_hooks for m in made.modules())


def test_blocks_add_up_to_the_statistics_of_all() -> None:
    """In the first layer those of all tiles, however many come at once; in the next ones nearly."""
    target, made = batch(0, 60).target, [deep_encoder() for _ in range(2)]
    adapt_statistics(made[0], [target])
    adapt_statistics(made[1], [target[:7], target[7:40], target[40:]])
    (one, one_deep), (other, other_deep) = (target_statistics(each) for each in made)
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    for a, b in zip(one_deep, other_deep, strict=True):
        assert torch.allclose(a, b, atol=0.05) and not torch.equal(a, b)
    set_target_statistics(made[1], target_statistics(made[0]))
    with torch.no_grad():
        assert torch.equal(*(encoder_of(each, is_source=False)(target) for each in made))


def test_what_a_balance_says_of_layers_is_taken_by_both_classifiers() -> None:
    made, seen = encoder("adapted"), batch(0, 64)
    config = AdaptConfig.model_validate({**SMALL, "method": "adabn"})

    def look(model: DomainClassifier) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(model.encoder, Encoder)
        adapt_statistics(model.encoder, [seen.target])
        with torch.no_grad():
            one, other = model.features(seen.source, SOURCE), model.features(seen.target, TARGET)
        return one.numpy(), other.numpy()

    label_N = seen.label_S.numpy()
    balance = PixelBalance(look, label_N, 2, config, label_N)
    step = AdaptStep(config, DomainClassifier(6, 2, 8, 0.0, made), torch.ones(2), balance)
    assert not step.is_target_seen
    for number in range(3):
        step(batch(number)._replace(target=seen.target[:0], label_T=torch.zeros(0)), number)
    bn = norm(step.model)
    with torch.no_grad():  # the weights before the layer moved a little since
        mean, _ = moments(encoder("adapted").network[0]((seen.target - 0.5) / 0.5))
    assert torch.allclose(bn.running_mean, mean, atol=1e-5)
    assert torch.equal(bn.running_mean, norm(step.averaged).running_mean)
    assert not torch.equal(bn.source_mean, torch.zeros(6))  # moved by its own batches
    step.balance(3)
    with torch.no_grad():
        mean, _ = moments(step.averaged.encoder.network[0]((seen.target - 0.5) / 0.5))
    assert torch.allclose(norm(step.averaged).running_mean, mean, atol=1e-5)


def test_adabn_adapts_the_layers_too_where_an_encoder_learns() -> None:
    assert AdaptConfig(method="adabn", encoder_rate=0.1).layers_normalized_by() == "adapted"
    assert AdaptConfig(method="dman+adabn").layers_normalized_by() == "adapted"
    assert AdaptConfig().layers_normalized_by() == "frozen"
    assert AdaptConfig(method="adabn", batch_norm="frozen").layers_normalized_by() == "frozen"


def test_one_batch_of_both_is_normalized_as_one() -> None:
    step = new_step(batch_norm="shared")
    step.networks.train()
    seen = batch(0)
    together = step.model.pair(seen.source, seen.target, is_one_batch=True)
    apart = step.model.pair(seen.source, seen.target, is_one_batch=False)
    assert not torch.allclose(together[0].logits_BC, apart[0].logits_BC, atol=1e-4)
    step.networks.eval()
    together = step.model.pair(seen.source, seen.target, is_one_batch=True)
    apart = step.model.pair(seen.source, seen.target, is_one_batch=False)
    for one, other in zip(together, apart, strict=True):
        assert torch.allclose(one.logits_BC, other.logits_BC, atol=1e-5)


def test_frozen_statistics_are_not_moved_nor_those_of_batches_used() -> None:
    step = new_step(batch_norm="frozen")
    before = norm(step.model).running_mean.clone()
    weight = norm(step.model).weight.detach().clone()
    for number in range(3):
        step(batch(number), number)
    assert torch.equal(norm(step.model).running_mean, before)
    assert not torch.equal(norm(step.model).weight, weight)  # it learns all the same
    assert int(norm(step.averaged).num_batches_tracked) == 0


def test_counts_are_copied_and_the_rest_is_averaged() -> None:
    step = new_step(batch_norm="shared", ema_decay=0.5)
    for number in range(5):
        step(batch(number), number)
    assert int(norm(step.averaged).num_batches_tracked) == 5
    assert not torch.equal(norm(step.averaged).running_mean, norm(step.model).running_mean)
    frozen = step.averaged.encoder
    assert isinstance(frozen, Encoder) and not frozen.training


def test_rates_are_those_of_each_part() -> None:
    step = new_step(encoder_rate=0.1, judge_rate=3.0)
    step(batch(0), 0)
    assert [group["lr"] for group in step.optimizer.param_groups] == pytest.approx(
        [0.01, 0.001, 0.03]
    )


@pytest.mark.parametrize("way", ["separate", "adapted"])
def test_stopped_and_gone_on_with_to_the_very_same_weights(way: str) -> None:
    settings = {"method": "dman+mic", "batch_norm": way}
    whole, first, second = (new_step(**settings) for _ in range(3))
    for number in range(8):
        whole(batch(number), number)
    for number in range(4):
        first(batch(number), number)
    second.load_state_dict(first.state_dict())
    for number in range(4, 8):
        second(batch(number), number)
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, second.averaged.state_dict()[name]), name


def test_what_is_shown_is_not_changed_and_what_is_hidden_has_one_color() -> None:
    x = batch(0).target
    fill = torch.full((3, 1, 1), 0.5)
    assert torch.equal(masked(x, torch.ones(8, 4, 4, dtype=torch.bool), fill), x)
    shown = draw_shown(np.random.default_rng(0), 8, 4, 0.7)
    assert 0.1 < shown.float().mean() < 0.5
    made = masked(x, shown, fill)
    wide = shown.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(x)
    assert torch.equal(made[wide], x[wide])
    assert (made[~wide] == 0.5).all()


def test_masked_consistency_is_cross_entropy_by_the_teachers_certainty() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(6, 3, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    sure, label = teacher.softmax(dim=1).max(dim=1)
    found = masked_consistency(logits, teacher)
    assert torch.allclose(found, sure * focal_cross_entropy(logits, label))
    found.sum().backward()
    assert teacher.grad is None
    certain = 100 * torch.eye(3)
    assert masked_consistency(certain, certain).abs().max() < 1e-6


def test_a_head_that_was_folded_is_unfolded() -> None:
    torch.manual_seed(0)
    one, other = DomainClassifier(5, 3, 8, 0.0), DomainClassifier(5, 3, 8, 0.0)
    random = np.random.default_rng(0)
    for model in (one, other):
        for domain in (SOURCE, TARGET):
            model.set_statistics(domain, (random.normal(size=5), random.random(5) + 0.1))
    head, x = one.folded(TARGET), torch.randn(7, 5)
    other.unfold(head.state_dict(), SOURCE)
    assert torch.allclose(other(x, SOURCE).logits_BC, head(x), atol=1e-5)
    with pytest.raises(RuntimeError):
        DomainClassifier(5, 3, 4, 0.0).unfold(head.state_dict(), SOURCE)


@pytest.mark.parametrize("is_estimated", [True, False])
def test_balance_looks_at_what_the_encoder_makes_now(is_estimated: bool) -> None:
    """Where shares are to be estimated, the source's statistics serve both until they are."""
    seen, asked = batch(0, 64), []
    settings = {**SMALL, "method": "dman", "is_prior_estimated": is_estimated}
    config = AdaptConfig.model_validate(settings)

    def look(model: DomainClassifier) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            one, other = model.features(seen.source, SOURCE), model.features(seen.target, TARGET)
        asked.append((model, one, other))
        return one.numpy(), other.numpy()

    label_N = seen.label_S.numpy()
    balance = PixelBalance(look, label_N, 2, config, np.r_[label_N, np.ones(64, np.int64)])
    made = encoder("frozen")
    step = AdaptStep(config, DomainClassifier(6, 2, 8, 0.0, made), torch.ones(2), balance)
    step(batch(0), 0)
    ((model, source_NF, target_NF),) = asked
    assert model is step.averaged
    assert step.ratio_C.tolist() == [1.0, 1.0]
    mean_F = step.averaged.mean_2F[TARGET]
    share = 0.0 if is_estimated else 64 / (64 + PSEUDO_TILES)  # the target's own say
    wanted_F = share * target_NF.mean(dim=0) + (1 - share) * source_NF.mean(dim=0)
    assert torch.allclose(mean_F, wanted_F, atol=1e-5)
