"""Pictures of how grades are predicted: confusion, curves, calibration, centres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pathology.core.artifact import publish
from pathology.evaluation.grading import CaseCounts, Estimate, curve, reliability

GREEN, BLUE, RED, GREY = "#2f7d5b", "#0b6e99", "#c2410c", "#8795a1"
NOTE = "Research use only"


def draw_grading(counts: CaseCounts, grades: Sequence[str], path: Path, title: str) -> None:
    """Confusion, curves of every step, and calibration side by side, as a PNG file."""
    from matplotlib.figure import Figure  # slow to load

    figure = Figure(figsize=(12, 4), layout="constrained")
    figure.suptitle(f"{NOTE}. {title}", fontsize=10)
    left, middle, right = figure.subplots(1, 3)
    confusion = counts.confusion_KCC.sum(axis=0)
    share = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    left.imshow(share, cmap="Greens", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(confusion):
        color = "white" if share[row, column] > 0.6 else "black"
        text = f"{share[row, column]:.2f}\n{int(value)}"
        left.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    left.set_xticks(range(len(grades)), grades, fontsize=8)
    left.set_yticks(range(len(grades)), grades, fontsize=8)
    left.set_xlabel("predicted", fontsize=8)
    left.set_ylabel("true", fontsize=8)
    for step, (name, color) in enumerate(zip(grades[1:], _colors(len(grades) - 1), strict=True)):
        false, true = curve(counts, step)
        middle.plot(false, true, color=color, lw=1.4, label=f"{name} or worse")
    middle.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    middle.set_xlabel("false positive rate", fontsize=8)
    middle.set_ylabel("true positive rate", fontsize=8)
    middle.legend(fontsize=8, loc="lower right")
    confidence, accuracy, number = reliability(counts)
    right.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    right.plot(confidence, accuracy, color=GREEN, lw=1.4)
    largest = max(number, default=1)
    right.scatter(confidence, accuracy, s=8 + 120 * number / largest, color=GREEN, alpha=0.5)
    right.set_xlabel("confidence", fontsize=8)
    right.set_ylabel("accuracy", fontsize=8)
    _finish(figure, path)


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
        axis.set_xlim(0, 1.02)
        axis.set_title(metric.replace("_", " "), fontsize=9)
        axis.grid(color="#d5dde4", lw=0.5)
    _finish(figure, path)


def _colors(num: int) -> list[str]:
    return [(BLUE, RED, GREEN, GREY)[i % 4] for i in range(num)]


def _finish(figure: object, path: Path) -> None:
    for axis in figure.axes:  # type: ignore[attr-defined]
        axis.tick_params(labelsize=8)
    with publish(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)  # type: ignore[attr-defined]
