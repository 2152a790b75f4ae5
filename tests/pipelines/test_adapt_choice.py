"""Which weights an adaptation keeps, by what rule, and that the model card says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.adapt.balance import probabilities
from pathology.adapt.choose import mean_entropy
from pathology.adapt.network import DomainClassifier
from pathology.core.errors import ConfigError
from pathology.evaluation.sections import card_facts
from pathology.models.card import load_classifier
from pipelines import adapt_choice, adapt_training
from pipelines.adapt_choice import RULES, ChoosingStep, looks_of, said_of, score_by
from pipelines.adapt_domains import AdaptOptions, Domains
from pipelines.adapt_train import train_adapt, twin_of
from pipelines.adapt_training import train_on
from tests.adapt.test_adapt_step import batch, new_step
from tests.in_process import pathology
from tests.pipelines.adapt_cohort import SETTINGS, config, read_domains


@pytest.fixture(scope="module")
def given(
    domains: tuple[Path, Path], weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Domains:
    options = AdaptOptions(device="cpu", weights=weights)
    return read_domains(*domains, config(), options, tmp_path_factory.mktemp("read"))


def test_looks_are_ten_and_the_last_one_is_at_the_end() -> None:
    assert looks_of(600) == list(range(60, 601, 60))
    assert looks_of(6) == [1, 2, 3, 4, 5, 6]
    assert looks_of(1) == [1]
    assert all(len(looks_of(n)) == 10 and looks_of(n)[-1] == n for n in range(10, 200))


@pytest.mark.parametrize(
    ("scores", "best"),
    [([3, 5, 4], 2), ([1, 5, 5], 3), ([-5, -4, -3], 3), ([2, 1, 0], 1), ([0, np.nan, -1], 1)],
)
def test_the_best_weights_are_remembered_and_of_equal_ones_the_later(
    scores: list[float], best: int
) -> None:
    rest = iter(scores)
    step = ChoosingStep(new_step(method="source"), lambda model: next(rest), 3)
    each = []
    for number in range(3):
        step(batch(number), number)
        each.append({k: v.clone() for k, v in step.step.averaged.state_dict().items()})
    assert step.take_best() == best
    for name, value in step.step.averaged.state_dict().items():
        assert torch.equal(value, each[best - 1][name]), name


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_is_kept_is_what_the_score_liked_best(
    given: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    seen: list[tuple[float, torch.Tensor]] = []

    def noted(*asked: object) -> float:
        score, model = score_by(*asked), asked[1]  # type: ignore[arg-type]
        assert isinstance(model, DomainClassifier) and asked[0] == rule
        seen.append((score, model.head.head.weight.clone()))
        return score

    monkeypatch.setattr(adapt_choice, "score_by", noted)
    settings, chosen = config(chosen_by=rule, learning_rate=0.02, steps=50), list[int]()
    options = AdaptOptions(device="cpu")
    model = train_on(given, settings, options, tmp_path, on_chosen=chosen.append)
    scores = [score for score, _ in seen]
    assert len(scores) == 10 and len(set(scores)) > 1
    best = max(i for i, score in enumerate(scores) if score == max(scores))
    assert chosen == [looks_of(50)[best]]
    assert torch.equal(model.head.head.weight, seen[best][1])


def test_scores_are_those_of_the_answers(given: Domains) -> None:
    torch.manual_seed(0)
    model = DomainClassifier(given.tiles.num_features, 2, 16, 0.0).eval()
    target_NC, val_NC = (
        probabilities(model, np.asarray(part.read(slice(None)), np.float32), domain)
        for domain, part in ((1, given.target), (0, given.val))
    )
    assert score_by("entropy", model, given, config()) == pytest.approx(-mean_entropy(target_NC))
    own = val_NC[np.arange(len(val_NC)), given.val.label_N]
    assert score_by("source", model, given, config()) == pytest.approx(np.log(own).mean())
    assert np.isfinite([score_by(rule, model, given, config()) for rule in ("snd", "dev")]).all()


def test_stopped_and_gone_on_with_to_the_same_choice(
    given: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best look lies before the checkpoint, and its weights are kept there."""
    monkeypatch.setattr(adapt_training, "KEEP_EVERY", 20)
    steps, order = 40, [0, 9, 1, 2, 3, 4, 5, 6, 7, 8]
    settings, options = config(chosen_by="snd", steps=steps), AdaptOptions(device="cpu")
    found = []
    for name in ("whole", "part"):
        rest, chosen = iter(order), list[int]()
        monkeypatch.setattr(adapt_choice, "score_by", lambda *_, rest=rest: float(next(rest)))

        def stop(step: int, values: dict[str, float]) -> None:
            if step == 23:  # after the checkpoint of step 20
                raise KeyboardInterrupt

        if name == "part":
            with pytest.raises(KeyboardInterrupt):
                train_on(given, settings, options, tmp_path / name, on_step=stop)
            again = iter(order[5:])
            monkeypatch.setattr(adapt_choice, "score_by", lambda *_, rest=again: float(next(rest)))
        model = train_on(given, settings, options, tmp_path / name, on_chosen=chosen.append)
        found.append(model.state_dict())
        assert chosen == [8]
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_a_rule_that_asks_slides_set_aside_needs_some(given: Domains, tmp_path: Path) -> None:
    bare = replace(given, val=given.val.chosen([]))
    for rule in ("source", "dev"):
        with pytest.raises(ConfigError, match=f"chosen_by={rule}: no slide of the source was set"):
            train_on(bare, config(chosen_by=rule, steps=2), AdaptOptions(device="cpu"), tmp_path)
    train_on(bare, config(chosen_by="entropy", steps=2), AdaptOptions(device="cpu"), tmp_path)


def test_the_card_and_the_terminal_name_the_rule(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, given: Domains
) -> None:
    settings = {**SETTINGS, "steps": 20}
    done = pathology(
        "train", "adapt", "--source", domains[0], "--target", domains[1], "--out",
        tmp_path / "m.pt", "--weights", weights, "--device", "cpu", "--target-mpp", 0.5,
        *(word for k, v in settings.items() for word in ("--set", f"{k}={v}")),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = load_classifier(tmp_path / "m.pt")[0]
    assert card.chosen_by == (
        "last of 20 steps, moving average of the weights; no score, and no label of the target"
    )
    assert f"weights kept: {card.chosen_by}" in done.stdout
    assert ("Weights kept", card.chosen_by) in card_facts(card)
    by_density = config(steps=20, chosen_by="snd")
    card = train_adapt(given, tmp_path / "snd.pt", by_density, AdaptOptions(device="cpu"))
    step = int(card.chosen_by.split()[1])
    assert step in looks_of(20) and card.chosen_by == said_of(by_density, step)
    assert "best of 10 by density of the target's answers (SND)" in card.chosen_by


def test_the_twin_is_not_chosen_by_the_target() -> None:
    for rule in ("last", *RULES):
        wanted = "source" if rule == "source" else "last"
        assert twin_of(config(chosen_by=rule)).chosen_by == wanted
