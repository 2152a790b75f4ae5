"""What is shown of a training's epochs, and what the slides that choose say of its weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import write_text
from pathology.evaluation.grading import count_by_case, measures
from pathology.evaluation.slide_ranking import mean_auroc
from pathology.training.curves import draw_curves
from pathology.training.loop import Values, read_metrics
from pathology.weak.predict import SlideScores
from pathology.weak.slide_rule import SlideRule, grade_of, grade_slide

DRAW_EVERY_S = 20.0
FIGURES = ("balanced_accuracy", "kappa", "ece")  # of slides, by the slide rule


class EpochLog:
    """epochs.jsonl and curves.png in the folder of a training, and its metrics.jsonl.

    steps  that make an epoch, and a line of metrics.jsonl
    """

    def __init__(self, folder: Path, title: str, steps: int) -> None:
        self.folder, self.title, self.steps = folder, title, steps
        self.drawn = time.monotonic()

    def show(self, history: Sequence[Values], *, is_last: bool) -> None:
        """Write epochs.jsonl anew, and draw the curves now and then, which takes a second.

        history  what every epoch reached
        """
        rows = joined(history, read_metrics(self.folder / "metrics.jsonl"), self.steps)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        write_text(self.folder / "epochs.jsonl", lines)
        if not is_last and time.monotonic() - self.drawn < DRAW_EVERY_S:
            return
        self.drawn = time.monotonic()
        draw_curves(rows, self.folder / "curves.png", self.title)


def joined(history: Sequence[Values], metrics: Sequence[Values], steps: int) -> list[Values]:
    """A row for each epoch: its number, its last step, the terms of its loss, what it reached.

    metrics  means of the terms of the loss, a row for each epoch, as far as they are there
    """
    terms = {int(row["step"]): row for row in metrics}
    rows = []
    for reached in history:
        step = int(reached["epoch"]) * steps
        rows.append({"epoch": reached["epoch"], "step": step} | terms.get(step, {}) | reached)
    return rows


def order_reached(scored: Sequence[SlideScores], grade_S: NDArray[np.int64]) -> float:
    """Mean AUROC of slides by their method's own scores; -1 where they cannot choose."""
    if not scored:
        return -1.0
    value = mean_auroc(np.array([scores.slide_C for scores in scored]), grade_S)
    return -1.0 if math.isnan(value) else round(value, 6)


def slide_figures(
    rule: SlideRule,
    scored: Sequence[SlideScores],
    grade_S: NDArray[np.int64],
    grades: tuple[str, ...],
) -> Values:
    """How well a slide rule grades slides: val_balanced_accuracy, val_kappa (quadratic weights) and
    val_ece, without those that are not defined. Of the slides that taught the rule they flatter it.
    """
    if not scored:
        return {}
    probability_SC = np.array([grade_slide(rule, scores.tile_NC) for scores in scored])
    predicted_S = np.array([grade_of(probability_C) for probability_C in probability_SC])
    every_S = np.arange(len(scored))
    counts = count_by_case(probability_SC, grade_S, every_S, predicted_N=predicted_S)
    found = measures(counts, np.ones(len(scored)), grades)
    return {f"val_{n}": round(found[n], 6) for n in FIGURES if not math.isnan(found[n])}
