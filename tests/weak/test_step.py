"""Which weights of a training are kept, when it ends, and what it refuses to learn from."""

import numpy as np
import pytest
import torch

from pathology.core.errors import ConfigError
from pathology.weak.bag import BagBatch
from pathology.weak.config import WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pathology.weak.step import WeakStep


def kept_epochs(method: str, values: list[float], error: float = 0.0, **more: int) -> list[int]:
    """The epoch whose weights are kept after each of the epochs that validate so."""
    config = WeakConfig.model_validate({"grades": ("a", "b"), "method": method, **more})
    model = BagClassifier(bag_network(config, 4))
    step = WeakStep(config, model, np.zeros(2, np.int64), np.ones(2, np.int64), lambda: np.ones(2))
    kept = []
    for epoch, value in enumerate(values, start=1):
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(epoch)
        step.keep_best(epoch, value, lambda _: error)
        assert {float(w.max()) for w in step.best["weights"].values()} == {step.best["epoch"]}
        kept.append(step.best["epoch"])
    return kept


def test_the_best_weights_are_kept_and_later_ones_among_equals() -> None:
    assert kept_epochs("ce", [0.8, 0.7, 0.9, 0.9, 0.8]) == [1, 1, 3, 4, 4]


def test_what_is_within_the_error_of_the_best_counts_as_equal_and_does_not_creep_down() -> None:
    values = [0.9, 0.97, 0.96, 0.95, 0.94, 0.955]
    assert kept_epochs("ce", values, error=0.02) == [1, 2, 3, 4, 4, 6]


@pytest.mark.parametrize("method", ["rce-ut", "rce", "em", "forward"])
def test_weights_from_before_rectification_give_way_to_what_follows(method: str) -> None:
    assert kept_epochs(method, [1.0, 0.7, 0.9, 0.8]) == [1, 2, 3, 3]
    assert kept_epochs(method, [1.0, 0.9, 0.6], warmup_epochs=2) == [1, 2, 3]
    assert kept_epochs(method, [1.0, 0.9], warmup_epochs=0) == [1, 1]


def test_forward_is_cross_entropy_until_its_warmup_ends() -> None:
    """Two steps make an epoch; with no rate, all steps see one network."""
    batch = BagBatch(
        torch.randn(2, 4, 4), torch.tensor([0, 1]), torch.ones(2, 4),
        torch.arange(8).reshape(2, 4), torch.full((2, 4), -1),
    )  # fmt: skip
    found = {}
    for method in ("ce", "forward"):
        config = WeakConfig.model_validate(
            {"grades": ("a", "b"), "method": method, "warmup_epochs": 1, "dropout": 0.0,
             "learning_rate": 1e-12, "epoch_tiles": 16, "slides_per_step": 2, "tiles_per_slide": 4}
        )  # fmt: skip
        torch.manual_seed(0)
        model = BagClassifier(bag_network(config, 4))
        slide, grade = np.repeat([0, 1], 4), np.repeat([0, 1], 4)
        step = WeakStep(config, model, slide, grade, lambda: np.ones(8))
        found[method] = [step(batch, number)["tile"] for number in range(3)]
    assert config.steps_per_epoch == 2
    assert found["forward"][:2] == pytest.approx(found["ce"][:2])
    assert abs(found["forward"][2] - found["ce"][2]) > 0.01


def test_training_is_given_up_once_patience_ends() -> None:
    config = WeakConfig.model_validate({"grades": ("a", "b"), "method": "ce", "patience": 2})
    model = BagClassifier(bag_network(config, 4))
    step = WeakStep(config, model, np.zeros(2, np.int64), np.ones(2, np.int64), lambda: np.ones(2))
    values = [0.5, 0.9, 0.8, 0.9, 0.1, 0.1]
    said = [step.keep_best(epoch, value) for epoch, value in enumerate(values, start=1)]
    assert said == [False, False, False, False, False, True]
    assert [row["validation"] for row in step.history] == values


@pytest.mark.parametrize("broken", ["features", "weights", "scores"])
def test_what_is_no_number_ends_a_training_before_it_is_learned(broken: str) -> None:
    features = torch.randn(2, 4, 4)
    batch = BagBatch(
        features, torch.tensor([0, 1]), torch.ones(2, 4),
        torch.arange(8).reshape(2, 4), torch.full((2, 4), -1),
    )  # fmt: skip
    config = WeakConfig.model_validate(
        {"grades": ("a", "b"), "method": "rce", "warmup_epochs": 0, "learning_rate": 0.5,
         "epoch_tiles": 16, "slides_per_step": 2, "tiles_per_slide": 4}
    )  # fmt: skip
    scores = np.full(8, 0.5)
    model = BagClassifier(bag_network(config, 4))
    slide = np.repeat([0, 1], 4)
    step = WeakStep(config, model, slide, slide, lambda: scores)
    step(batch, 0)
    number = 1
    if broken == "features":
        features[1, 2, 0] = torch.inf
    elif broken == "weights":
        with torch.no_grad():
            next(model.parameters()).fill_(1e38)
    else:
        scores[3], number = np.nan, 2  # asked for at the start of an epoch
    before = step.weights()
    with pytest.raises(ConfigError, match=r"step 2: .* no number.*lower learning_rate than 0\.5"):
        step(batch, number)
    after = step.weights()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
