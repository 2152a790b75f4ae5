"""One update of a classifier on a labelled source and an unlabelled target."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pathology.adapt import losses
from pathology.adapt.batch import DomainBatch
from pathology.adapt.config import AdaptConfig
from pathology.adapt.domain_norm import LayerStatistics, has_two, set_target_statistics
from pathology.adapt.network import SOURCE, TARGET, DomainClassifier, Embedded, Statistics
from pathology.adapt.optimizer import make_optimizer
from pathology.adapt.peers import doubt, networks_beside
from pathology.adapt.reversal import reversal_strength, reverse_gradient
from pathology.training.together import average, from_first, rank, take_from_first

REBALANCE_EVERY = 20  # steps, where features are at hand
PIXEL_REBALANCE_EVERY = 100  # where they must be made anew
APART = 1_000_000_007  # of the seeds of two processes
WAIT = 0.2  # share of the steps in which the classes' shares are found, before the target teaches


class Balance(NamedTuple):
    """What is thought of the domains by now.

    ratio_C     how often each class occurs in the target, over how often in the source
    statistics  mean and variance (F,) by which source and target are normalized; None: as before
    layers      the same of the target for the encoder's normalization layers; None: as before
    """

    ratio_C: Tensor
    statistics: tuple[Statistics, Statistics] | None = None
    layers: LayerStatistics | None = None


Rebalance = Callable[[DomainClassifier, Tensor, int], Balance]


class AdaptStep:
    """A classifier, its judge and their optimizer, on the device that the classifier is on.

    In several processes each has a batch of its own; gradients are their mean, and so weights are
    the same in all. Terms that compare a batch's tiles with each other compare those of one.

    class_weight_C  factors on the source's loss of each class
    rebalance       asked at the start and every so many steps, with the averaged classifier, the
                    ratio of before and the step; where classes are compared between the domains,
                    the source counts by the ratio
    autocast        within which networks run, for a precision of their own
    backward        from a loss to the gradients
    averaged        the classifier with the moving average of its weights: what is kept for use
    """

    def __init__(
        self,
        config: AdaptConfig,
        model: DomainClassifier,
        class_weight_C: Tensor,
        rebalance: Rebalance = lambda model, ratio_C, step: Balance(ratio_C),
        *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        backward: Callable[[Tensor], Any] = torch.Tensor.backward,
    ) -> None:
        self.config, self.terms = config, config.term_weights()
        self.class_weight_C, self.rebalance = class_weight_C, rebalance
        self.autocast, self.backward = autocast, backward
        self.is_target_seen = config.is_target_seen
        self.ratio_C = torch.ones(len(class_weight_C))  # stays on the CPU
        self.model, self.judge, self.noted = model, *networks_beside(config, model)
        parts = {"model": model, "judge": self.judge, "noted": self.noted}
        self.networks = nn.ModuleDict(parts)
        take_from_first(self.networks)
        self.averaged = deepcopy(model).requires_grad_(False).eval()
        self.optimizer = make_optimizer(config, model, self.judge, self.noted)

    def __call__(self, batch: DomainBatch, step: int) -> dict[str, float]:
        """Update once; returns the terms of the loss, as they count."""
        if step % rebalance_every(self.config) == 0:
            self.balance(step)
        seed = self.config.seed * 1_000_003 + step + APART * rank()
        torch.manual_seed(seed)  # dropout is a function of the step
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * self._rate(step)
        self.networks.train()
        values = self._terms(batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        every = torch.stack(list(values.values()))
        self.backward(every.sum())
        average(p.grad for p in self.networks.parameters() if p.grad is not None)
        if self.config.clip:
            for network in (self.model, self.judge):
                nn.utils.clip_grad_norm_(network.parameters(), self.config.clip)
        self.optimizer.step()
        if self.config.is_pixels and self.config.layers_normalized_by() != "frozen":
            moved = (b for b in self.networks.buffers() if b.is_floating_point())
            average(moved, is_exact=True)
        self._average(step)
        told = every.detach()
        average([told])
        return dict(zip(values, told.tolist(), strict=True))

    def balance(self, step: int) -> None:
        """Take what is thought of the domains by now; after the last step, for use."""
        found = from_first(lambda: self.rebalance(self.averaged, self.ratio_C, step))
        self.ratio_C = found.ratio_C
        if found.layers is not None:
            for model in (self.model, self.averaged):
                if model.encoder is not None:
                    set_target_statistics(model.encoder, found.layers)
        if found.statistics is not None:
            for domain, statistics in enumerate(found.statistics):
                for model in (self.model, self.averaged):
                    model.set_statistics(domain, statistics)

    def _terms(self, batch: DomainBatch, step: int) -> dict[str, Tensor]:
        is_one_batch = not has_two(self.config.layers_normalized_by())
        with self.autocast():
            if self.is_target_seen or (batch.label_T >= 0).any():
                source, target = self.model.pair(
                    batch.source, batch.target, is_one_batch=is_one_batch
                )
            else:
                source, target = self.model(batch.source, SOURCE), None
        num = self.config.steps
        strength = reversal_strength(step - WAIT * num, max(1, round(self.config.ramp * num)))
        found = {"label": self._label_loss(source, batch)}
        if self.terms.sharpness:
            found["label"] = self._sharp_loss(found["label"], batch)
        if target is None:
            return found
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
        if terms.diversity:
            found["diversity"] = -terms.diversity * self._diversity(source, target)
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
            is_by_share = terms.confusion_by == "share"
            confusion = losses.class_confusion(target.logits_BC, is_by_share=is_by_share)
            found["confusion"] = strength * terms.confusion * confusion
        if terms.consistency or terms.masked:
            with torch.no_grad(), self.autocast():
                teacher_BC = self.averaged(batch.target, TARGET).logits_BC
        if terms.consistency:
            loss_T = losses.consistency(target.logits_BC, teacher_BC, self.config.confidence)
            found["consistency"] = strength * terms.consistency * loss_T.mean()
        if terms.masked:
            loss_T = losses.masked_consistency(self._of_hidden(batch), teacher_BC)
            found["masked"] = strength * terms.masked * loss_T.mean()
        return found

    def _of_hidden(self, batch: DomainBatch) -> Tensor:
        """Logits (T, C) of tiles that are hidden in part."""
        if batch.hidden is None:
            raise ValueError("a batch without tiles that are hidden in part")
        with self.autocast():
            seen: Embedded = self.model(batch.hidden, TARGET)
        return seen.logits_BC

    def _label_loss(self, source: Embedded, batch: DomainBatch) -> Tensor:
        """Of the source: focal, by class, and by the weight of each; summed over peers."""
        label_S, gamma = batch.label_S, self.terms.focal
        each = [
            losses.focal_cross_entropy(self.noted(logits_SC), label_S, gamma)
            for logits_SC in source.each
        ]
        loss_S = torch.stack(each).sum(dim=0)
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
        at_source, at_target = compare(*scores)  # (S,) and (T,), or two rows of it for two peers
        weight_S = self._shares(batch) * doubt(source.each)
        weighted = doubt(target.each) * at_target
        return (weight_S * at_source).sum() + weighted.mean(dim=-1).sum()

    def _diversity(self, source: Embedded, target: Embedded) -> Tensor:
        """How much both peers differ; nothing before their last layers learns from it."""
        every = torch.cat([source.hidden_BW, target.hidden_BW]).detach()
        one, other = self.model.head.each(every)
        return losses.peer_disagreement(one, other).mean()

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
        with self.autocast():
            worst = torch.func.functional_call(self.model, moved, (batch.source, SOURCE))
        return self._label_loss(worst, batch)

    def _rate(self, step: int) -> float:
        """Constant for two thirds of the steps, then a line to zero."""
        return min(1.0, 3 * (1 - step / self.config.steps))

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Move the average a little; counts are copied, and what does not learn stays."""
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        learns = [p.requires_grad for p in self.model.parameters()]
        for kept, value, is_moved in zip(
            self.averaged.parameters(), self.model.parameters(), learns, strict=True
        ):
            if is_moved:
                kept.lerp_(value, 1 - decay)
        for held, new in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            if held.is_floating_point():
                held.lerp_(new, 1 - decay)
            else:
                held.copy_(new)

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


def rebalance_every(config: AdaptConfig) -> int:
    """Steps after which shares and statistics are asked for again."""
    return PIXEL_REBALANCE_EVERY if config.is_pixels else REBALANCE_EVERY
