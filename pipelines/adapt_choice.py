"""Which weights of an adaptation are kept: the last ones, or those that a score without labels of
the target liked best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pathology.adapt.balance import probabilities
from pathology.adapt.batch import DomainBatch
from pathology.adapt.choose import mean_entropy, soft_neighborhood_density
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import SOURCE, TARGET, DomainClassifier
from pathology.adapt.step import AdaptStep
from pathology.core.errors import ConfigError
from pathology.training.together import from_first
from pipelines.adapt_domains import Domains
from pipelines.adapt_look import Looker
from pipelines.adapt_scores import losses_of, target_loss

NUM_LOOKS = 10  # at a training, evenly spaced, the last one at its end
MOST_TILES = 2000  # of each domain that a look takes in
RULES = {
    "source": "loss on the source's slides that were set aside",
    "entropy": "entropy of the target's answers",
    "snd": "density of the target's answers (SND)",
    "dev": "estimated loss on the target (DEV)",
}


class ChoosingStep:
    """A step that remembers its averaged classifier as it was when a score was highest.

    score  of a classifier; of two that are equal the later one is remembered
    """

    def __init__(
        self, step: AdaptStep, score: Callable[[DomainClassifier], float], num_steps: int
    ) -> None:
        self.step, self.score = step, score
        self.looks = looks_of(num_steps)
        self.best: dict[str, Any] = {"step": 0, "score": 0.0, "weights": {}}

    def __call__(self, batch: DomainBatch, step: int) -> dict[str, float]:
        """Update once, and look."""
        values = self.step(batch, step)
        if step + 1 in self.looks:
            score = from_first(lambda: self.score(self.step.averaged))
            if not self.best["step"] or score >= self.best["score"]:
                state = self.step.averaged.state_dict()
                weights = {name: value.detach().cpu().clone() for name, value in state.items()}
                self.best = {"step": step + 1, "score": score, "weights": weights}
        return values

    def take_best(self) -> int:
        """Give the averaged classifier its best weights; returns after which step it had them."""
        self.step.averaged.load_state_dict(self.best["weights"])
        return int(self.best["step"])

    def state_dict(self) -> dict[str, Any]:
        """That of the step, and the best weights so far."""
        return {**self.step.state_dict(), "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.step.load_state_dict(state)
        self.best = state["best"]


def chooser_of(update: AdaptStep, domains: Domains, config: AdaptConfig) -> ChoosingStep | None:
    """What chooses among the steps; None where the last is kept.

    Raises ConfigError where the rule asks the source's slides that were set aside, and none were.
    """
    rule = config.chosen_by
    if rule == "last":
        return None
    if rule in ("source", "dev") and not len(domains.val):
        raise ConfigError(
            f"chosen_by={rule}: no slide of the source was set aside. Mark some val, or leave the "
            "parts to chance"
        )
    return ChoosingStep(update, lambda model: score_by(rule, model, domains, config), config.steps)


def score_by(rule: str, model: DomainClassifier, domains: Domains, config: AdaptConfig) -> float:
    """How good a classifier is by a rule; high is good."""
    look, target, val = Looker(model, config, is_fast=True), domains.target, domains.val
    if rule in ("entropy", "snd"):
        answers_NC = probabilities(model, look(target, TARGET, target.some(MOST_TILES)), TARGET)
        if rule == "snd":
            return soft_neighborhood_density(answers_NC)
        return -mean_entropy(answers_NC)
    some = val.some(MOST_TILES)
    val_MF = look(val, SOURCE, some)
    loss_M = losses_of(val.label_N[some], probabilities(model, val_MF, SOURCE))
    if rule == "source":
        return -float(loss_M.mean())
    target_NF = look(target, TARGET, target.some(MOST_TILES))
    source_SF = look(domains.train, SOURCE, domains.train.some(MOST_TILES))
    return -target_loss(loss_M, source_SF, target_NF, val_MF)


def said_of(config: AdaptConfig, step: int) -> str:
    """For the model card: by what rule the weights were kept, and after which step."""
    rule, num = config.chosen_by, len(looks_of(config.steps))
    which = f"last of {step} steps" if rule == "last" else f"step {step} of {config.steps}"
    by = "no score" if rule == "last" else f"best of {num} by {RULES[rule]}"
    return f"{which}, moving average of the weights; {by}, and no label of the target"


def looks_of(num_steps: int) -> list[int]:
    """After which steps there is a look."""
    return sorted({max(1, round(num_steps * k / NUM_LOOKS)) for k in range(1, NUM_LOOKS + 1)})
