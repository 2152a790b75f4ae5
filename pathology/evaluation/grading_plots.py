"""Pictures of how grades are predicted: confusion, curves, calibration, centres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pathology.core.artifact import publish
from pathology.evaluation.grading import (
    CaseCounts,
    Estimate,
    curve,
    precision_curve,
    reliability,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREEN, BLUE, RED, GREY = "#2f7d5b", "#0b6e99", "#c2410c", "#8795a1"
NOTE = "Research use only"


def draw_grading(counts: CaseCounts, grades: Sequence[str], path: Path, title: str) -> None:
    """Confusion, both curves of every step, and calibration side by side, as a PNG file."""
    from matplotlib.figure import Figure  # slow to load

    figure = Figure(figsize=(15.5, 4), layout="constrained")
    figure.suptitle(f"{NOTE}. {title}", fontsize=10)
    confusion, roc, precision, calibration = figure.subplots(1, 4)
    _draw_confusion(confusion, counts, grades)
    _draw_curves(roc, precision, counts, grades)
    confidence, accuracy, number = reliability(counts)
    calibration.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    calibration.plot(confidence, accuracy, color=GREEN, lw=1.4)
    largest = max(number, default=1)
    calibration.scatter(confidence, accuracy, s=8 + 120 * number / largest, color=GREEN, alpha=0.5)
    calibration.set_xlabel("probability of the grade that was decided on", fontsize=8)
    calibration.set_ylabel("accuracy", fontsize=8)
    _finish(figure, path)


def _draw_confusion(axis: Axes, counts: CaseCounts, grades: Sequence[str]) -> None:
    confusion = counts.confusion_KCC.sum(axis=0)
    share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    axis.imshow(share, cmap="Greens", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(confusion):
        color = "white" if share[row, column] > 0.6 else "black"
        text = f"{share[row, column]:.2f}\n{int(value)}"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axis.set_xticks(range(len(grades)), grades, fontsize=8)
    axis.set_yticks(range(len(grades)), grades, fontsize=8)
    axis.set_xlabel("predicted", fontsize=8)
    axis.set_ylabel("true", fontsize=8)


def _draw_curves(roc: Axes, precision: Axes, counts: CaseCounts, grades: Sequence[str]) -> None:
    """Of every step; dotted is a guess, whose precision is the share of what is beyond the step."""
    for step, (name, color) in enumerate(zip(grades[1:], _colors(len(grades) - 1), strict=True)):
        false, true = curve(counts, step)
        roc.plot(false, true, color=color, lw=1.4, label=f"{name} or worse")
        recall, right = precision_curve(counts, step)
        precision.plot(
            recall, right, color=color, lw=1.4, drawstyle="steps-pre", label=f"{name} or worse"
        )
        precision.plot([0, 1][: len(right)], right[-1:].repeat(2), color=color, lw=0.8, ls=":")
    roc.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    roc.set_xlabel("false positive rate", fontsize=8)
    roc.set_ylabel("true positive rate", fontsize=8)
    roc.legend(fontsize=8, loc="lower right")
    precision.set_ylim(-0.05, 1.05)
    precision.set_xlabel("recall", fontsize=8)
    precision.set_ylabel("precision", fontsize=8)
    precision.legend(fontsize=8, loc="lower left")


def draw_centres(
    found: Mapping[str, Mapping[str, Estimate]], metrics: Sequence[str], path: Path, title: str
) -> None:
    """Each figure in each centre, with its interval, as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(metrics), 0.4 * len(found) + 1.4), layout="constrained")
    figure.suptitle(f"{NOTE}. {title}", fontsize=10)
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=True):
        for place, estimates in enumerate(found.values()):
            one = estimates[metric]
            axis.plot([one.low, one.high], [place, place], color=BLUE, lw=2, alpha=0.5)
            axis.plot([one.value], [place], "o", color=BLUE, ms=5)
        axis.set_yticks(range(len(found)), list(found), fontsize=8)
        axis.set_ylim(len(found) - 0.5, -0.5)
        axis.set_xlim(_left_end(found, metric), 1.02)
        axis.set_title(metric.replace("_", " "), fontsize=9)
        axis.grid(color="#d5dde4", lw=0.5)
    _finish(figure, path)


def _left_end(found: Mapping[str, Mapping[str, Estimate]], metric: str) -> float:
    """Where an axis of a figure begins: at 0, or below the lowest, as a kappa may be negative."""
    values = [value for e in found.values() for value in (e[metric].value, e[metric].low)]
    lowest = min((value for value in values if value < 0), default=0.0)
    return 1.05 * lowest


def _colors(num: int) -> list[str]:
    return [(BLUE, RED, GREEN, GREY)[i % 4] for i in range(num)]


def _finish(figure: object, path: Path) -> None:
    for axis in figure.axes:  # type: ignore[attr-defined]
        axis.tick_params(labelsize=8)
    with publish(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)  # type: ignore[attr-defined]
