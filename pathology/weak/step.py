"""One update of a tile classifier from slide labels, and what is thought of the tiles since."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from pathology.training.numbers import require_numbers
from pathology.weak.bag import BagBatch
from pathology.weak.config import RECTIFIED, WARMED, WeakConfig
from pathology.weak.network import BagClassifier
from pathology.weak.objective import loss_terms
from pathology.weak.rectify import discriminative_weights, rectified_weights
from pathology.weak.score_memory import ScoreMemory

Scores = Callable[[], NDArray[np.float64]]  # of all tiles for their slides' grades, as of now
Backward = Callable[[Tensor], None]
Error = Callable[[float], float]


class WeakStep:
    """A network, its optimizer and the memory of its scores.

    slide_N, grade_N  of all tiles that are trained on
    scores            asked at the start of each epoch, where the method's tiles do not count alike
    best              the weights that validated best so far, with what they reached; see keep_best
    history           what every epoch reached
    """

    def __init__(
        self,
        config: WeakConfig,
        model: BagClassifier,
        slide_N: NDArray[np.int64],
        grade_N: NDArray[np.int64],
        scores: Scores,
        *,
        backward: Backward = torch.Tensor.backward,
        setup: Callable[..., Any] = lambda network, optimizer: (network, optimizer),
    ) -> None:
        self.config, self.slide_N, self.grade_N = config, slide_N, grade_N
        self.scores, self.backward = scores, backward
        self.model, self.optimizer = setup(model, _optimizer(config, model))
        self.memory = ScoreMemory(len(slide_N), config.rectify.score_rate)
        self.weight_N: NDArray[np.float32] = np.ones(len(slide_N), np.float32)
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []

    def __call__(self, batch: BagBatch, step: int) -> dict[str, float]:
        """Update once; returns the terms of the loss and the share of tiles that count.

        Raises ConfigError where they are no numbers, before anything learns from them.
        """
        epoch, place = divmod(step, self.config.steps_per_epoch)
        if place == 0:
            self._start_epoch(epoch, step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * cosine(step, self.total_steps)
        torch.manual_seed(self.config.seed * 1_000_003 + step)  # dropout is a function of the step
        self.model.train()
        rows = batch.row_BN.cpu().numpy()
        weight_BN = torch.from_numpy(self.weight_N[rows]).to(batch.tiles_BNF.device)
        batch = batch._replace(weight_BN=weight_BN)
        output = self.model(batch.tiles_BNF, batch.label_B)
        is_warm = epoch >= self.config.warmup_epochs
        terms = loss_terms(self.config, output, batch, is_warm=is_warm)
        self.optimizer.zero_grad(set_to_none=True)
        self.backward(torch.stack(list(terms.values())).sum())
        self.require_numbers(self._gradient().cpu().numpy(), step + 1)
        self.optimizer.step()
        return {name: term.item() for name, term in terms.items()} | {
            "counted": float(weight_BN.mean())
        }

    @property
    def bare(self) -> BagClassifier:
        """The network inside of what Fabric may have wrapped around it."""
        inner: BagClassifier = getattr(self.model, "module", self.model)
        return inner

    def require_numbers(self, values: NDArray[np.floating], step: int) -> None:
        """Raise ConfigError where some of these are none: a gradient or scores after so many steps.

        A gradient is that of all processes, so that they end together.
        """
        require_numbers(values.ravel().tolist(), step, self.config.learning_rate)

    def _gradient(self) -> Tensor:
        """Length of the gradient of all that learns: no number where the loss is none."""
        found = [p.grad for group in self.optimizer.param_groups for p in group["params"]]
        return get_total_norm([gradient for gradient in found if gradient is not None])

    def weights(self) -> dict[str, Tensor]:
        """The present weights, on the CPU."""
        return {k: v.detach().cpu().clone() for k, v in self.bare.state_dict().items()}

    @property
    def total_steps(self) -> int:
        """Updates of the whole training, if nothing ends it before."""
        return self.config.epochs * self.config.steps_per_epoch

    def keep_best(self, epoch: int, value: float, error: Error = lambda _: 0.0) -> bool:
        """Remember the present weights if none validated better; says whether to give up.

        error  by which a value may be off: what is no further below the best counts as equal to
               it (the rule of one standard error: Breiman et al., 1984)

        Equal counts as better: later weights have seen more, and at a lower rate. So does whatever
        follows on epochs in which all tiles still counted for their slide's grade, where the method
        is to think otherwise of some.
        """
        self.history.append({"epoch": epoch, "validation": value})
        num_before = self.config.warmup_epochs if self.config.method in WARMED else 0
        is_first = not self.best or self.best["epoch"] <= num_before
        top = value if is_first else max(value, self.best["top"])
        if value >= top - error(top):
            self.best = {"epoch": epoch, "value": value, "weights": self.weights()}
        self.best["top"] = top
        return bool(epoch - self.best["epoch"] >= self.config.patience)

    def _start_epoch(self, epoch: int, step: int) -> None:
        """Ask for scores and weigh the tiles anew; in the first epochs all count fully."""
        if self.config.method not in RECTIFIED or epoch < self.config.warmup_epochs:
            return
        scores_N = self.scores()
        self.require_numbers(scores_N, step)
        self.memory.update(np.arange(len(self.slide_N)), scores_N)
        scores_N, low = self.memory.scores_N, self.config.by_grade(self.config.rectify.low)
        if self.config.method == "em":
            self.weight_N = discriminative_weights(scores_N, self.slide_N, self.grade_N, low)
            return
        self.weight_N = rectified_weights(
            scores_N, self.slide_N, self.grade_N, low, self.config.by_grade(self.config.rectify.up),
            self.config.rectify.ramp,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """All that another step object needs to go on exactly here."""
        return {
            "model": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "memory": self.memory.state_dict(),
            "weight": torch.from_numpy(self.weight_N.copy()),
            "best": self.best,
            "history": self.history,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.bare.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.memory.load_state_dict(state["memory"])
        self.weight_N = state["weight"].numpy().copy()
        self.best, self.history = state["best"], list(state["history"])


def cosine(step: int, total: int) -> float:
    """Half a cosine from 1 to 0: Loshchilov and Hutter, ICLR 2017, without restarts."""
    return 0.5 * (1 + float(np.cos(np.pi * min(1.0, step / max(1, total)))))


def _optimizer(config: WeakConfig, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW; what of the encoder learns does so at a rate of its own."""
    encoder: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (encoder if name.startswith("encoder.") else rest).append(parameter)
    rate = config.learning_rate
    groups = [{"params": rest, "rate": rate}]
    if encoder:
        groups.append({"params": encoder, "rate": rate * config.encoder_rate})
    return torch.optim.AdamW(groups, lr=rate, weight_decay=config.weight_decay, fused=True)
