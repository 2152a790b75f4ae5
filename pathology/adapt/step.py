"""One update of a classifier on a labelled source and an unlabelled target."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pathology.adapt import losses
from pathology.adapt.batch import DomainBatch
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import (
    SOURCE,
    TARGET,
    DomainClassifier,
    Embedded,
    Judge,
    Statistics,
)
from pathology.adapt.reversal import reversal_strength, reverse_gradient

REBALANCE_EVERY = 20  # steps
WAIT = 0.2  # share of the steps in which the classes' shares are found, before the target teaches


class Balance(NamedTuple):
    """What is thought of the domains by now.

    ratio_C     how often each class occurs in the target, over how often in the source
    statistics  mean and variance (F,) by which source and target are normalized; None: as before
    """

    ratio_C: Tensor
    statistics: tuple[Statistics, Statistics] | None = None


Rebalance = Callable[[DomainClassifier, Tensor, int], Balance]


class AdaptStep:
    """A classifier, its judge and their optimizer.

    class_weight_C  factors on the source's loss of each class
    rebalance       asked at the start and every so many steps, with the averaged classifier, the
                    ratio of before and the step; where classes are compared between the domains,
                    the source counts by the ratio
    averaged        the classifier with the moving average of its weights: what is kept for use
    """

    def __init__(
        self,
        config: AdaptConfig,
        model: DomainClassifier,
        class_weight_C: Tensor,
        rebalance: Rebalance = lambda model, ratio_C, step: Balance(ratio_C),
    ) -> None:
        self.config, self.terms = config, config.term_weights()
        self.class_weight_C, self.rebalance = class_weight_C, rebalance
        self.ratio_C = torch.ones_like(class_weight_C)
        head = model.head
        judge = Judge(
            head.width or head.num_features, head.num_classes, config.judge_width,
            is_conditional=self.terms.is_conditional,
        )  # fmt: skip
        self.averaged = deepcopy(model).requires_grad_(False).eval()
        self.model, self.judge = model, judge
        self.networks = nn.ModuleDict({"model": model, "judge": judge})
        self.optimizer = torch.optim.AdamW(
            self.networks.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )

    def __call__(self, batch: DomainBatch, step: int) -> dict[str, float]:
        """Update once; returns the terms of the loss, as they count."""
        if step % REBALANCE_EVERY == 0:
            self._balance(step)
        torch.manual_seed(self.config.seed * 1_000_003 + step)  # dropout is a function of the step
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._rate(step)
        self.networks.train()
        values = self._terms(batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(values.values())).sum())
        self.optimizer.step()
        self._average(step)
        return {name: term.item() for name, term in values.items()}

    def _balance(self, step: int) -> None:
        found = self.rebalance(self.averaged, self.ratio_C, step)
        self.ratio_C = found.ratio_C
        if found.statistics is not None:
            for domain, statistics in enumerate(found.statistics):
                for model in (self.model, self.averaged):
                    model.set_statistics(domain, statistics)

    def _terms(self, batch: DomainBatch, step: int) -> dict[str, Tensor]:
        source = self.model(batch.source, SOURCE)
        target = self.model(batch.target, TARGET)
        num = self.config.steps
        strength = reversal_strength(step - WAIT * num, max(1, round(self.config.ramp * num)))
        found = {"label": self._label_loss(source.logits_BC, batch)}
        if self.terms.sharpness:
            found["label"] = self._sharp_loss(found["label"], batch)
        known = batch.label_T >= 0
        if known.any():
            label_B = batch.label_T[known]
            found["target"] = losses.focal_cross_entropy(target.logits_BC[known], label_B).mean()
        found |= self._alignment(source, target, batch, strength)
        return found | self._of_target(target, batch, strength)

    def _alignment(
        self, source: Embedded, target: Embedded, batch: DomainBatch, strength: float
    ) -> dict[str, Tensor]:
        """What makes the domains' features alike."""
        found, terms = {}, self.terms
        if terms.adversary:
            found["adversary"] = terms.adversary * self._adversary(source, target, batch, strength)
        for name, distance in (("coral", losses.coral), ("mmd", losses.mmd)):
            if getattr(terms, name):
                apart = distance(source.hidden_BW, target.hidden_BW, self._shares(batch))
                found[name] = getattr(terms, name) * apart
        return found

    def _of_target(
        self, target: Embedded, batch: DomainBatch, strength: float
    ) -> dict[str, Tensor]:
        """What the target teaches by itself."""
        found, terms = {}, self.terms
        if terms.entropy:
            entropy = losses.prediction_entropy(target.logits_BC).mean()
            found["entropy"] = strength * terms.entropy * entropy
        if terms.confusion:
            confusion = losses.class_confusion(target.logits_BC)
            found["confusion"] = strength * terms.confusion * confusion
        if terms.consistency:
            with torch.no_grad():
                teacher_BC = self.averaged(batch.target, TARGET).logits_BC
            loss_T = losses.consistency(target.logits_BC, teacher_BC, self.config.confidence)
            found["consistency"] = strength * terms.consistency * loss_T.mean()
        return found

    def _label_loss(self, logits_SC: Tensor, batch: DomainBatch) -> Tensor:
        """Of the source: focal, by class, and by the weight of each."""
        loss_S = losses.focal_cross_entropy(logits_SC, batch.label_S, self.terms.focal)
        return (batch.weight_S * self.class_weight_C.to(loss_S)[batch.label_S] * loss_S).mean()

    def _shares(self, batch: DomainBatch) -> Tensor:
        """How much each source example counts beside the target: (S,), sums to 1."""
        weight_S = batch.weight_S * self.ratio_C.to(batch.weight_S)[batch.label_S]
        return weight_S / weight_S.sum().clamp_min(losses.LEAST)

    def _adversary(
        self, source: Embedded, target: Embedded, batch: DomainBatch, strength: float
    ) -> Tensor:
        """What the judge gets wrong; it learns to be right, and what is before it the reverse."""
        scores = [
            self.judge(reverse_gradient(made.hidden_BW, strength), made.logits_BC)
            for made in (source, target)
        ]
        is_square = self.terms.adversary_loss == "least-squares"
        compare = losses.least_squares_adversary if is_square else losses.binary_adversary
        at_source_S, at_target_T = compare(*scores)
        return (self._shares(batch) * at_source_S).sum() + at_target_T.mean()

    def _sharp_loss(self, loss: Tensor, batch: DomainBatch) -> Tensor:
        """The source's loss where it is worst nearby: SAM (Foret et al., ICLR 2021) on this term
        alone, as in SDAT. The gradient there stands for the gradient here.
        """
        named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        length = torch.stack([g.norm() for g in gradients]).norm().clamp_min(losses.LEAST)
        moved = {
            name: parameter + self.terms.sharpness * gradient / length
            for (name, parameter), gradient in zip(named.items(), gradients, strict=True)
        }
        worst = torch.func.functional_call(self.model, moved, (batch.source, SOURCE))
        return self._label_loss(worst.logits_BC, batch)

    def _rate(self, step: int) -> float:
        """Constant for two thirds of the steps, then a line to zero."""
        return min(1.0, 3 * (1 - step / self.config.steps))

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        for kept, value in zip(
            self.averaged.state_dict().values(),
            self.model.state_dict().values(),
            strict=True,
        ):
            kept.lerp_(value.to(kept), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """All that another step object needs to go on exactly here."""
        return {
            "networks": self.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict(),
            "ratio": self.ratio_C,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.networks.load_state_dict(state["networks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.load_state_dict(state["averaged"])
        self.ratio_C = state["ratio"].clone()
