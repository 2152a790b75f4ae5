"""The colors of tissue before and after normalization against the target's, as small curves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pathology.evaluation.chart import INK, LINE, inline_svg
from pathology.stain.matrix import Floats

AXES = ("L*: dark to light", "a*: green to red", "b*: blue to yellow")
TARGET, SOURCE = "#d3dbe2", "#1f2933"
COLORS = ("#2b5f8a", "#c0572b", "#2f7d5b", "#8466b0", "#a1262f", "#b08a1e", "#3f8f9b", "#7a5c48")
NUM_BINS = 36


def color_chart(target: Floats, source: Floats, models: Mapping[str, Floats]) -> str:
    """Curves of L*, a* and b* of tissue pixels (n, 3) as an inline <svg> element.

    models  the colors of each model's output, by its name; source: of the tiles as they were
    Empty where target or source show no tissue.
    """
    if not len(target) or not len(source):
        return ""
    figure = Figure(figsize=(10.4, 2.5))
    for axis, (axes, title) in enumerate(zip(figure.subplots(1, 3), AXES, strict=True)):
        edges = _edges([target, source, *models.values()], axis)
        middle = (edges[1:] + edges[:-1]) / 2
        axes.fill_between(middle, _density(target, axis, edges), color=TARGET, label="target")
        axes.plot(
            middle, _density(source, axis, edges), color=SOURCE, ls="--", lw=1.2, label="source"
        )
        for number, (name, lab) in enumerate(models.items()):
            color = COLORS[number % len(COLORS)]
            axes.plot(middle, _density(lab, axis, edges), color=color, lw=1.4, label=name)
        axes.set_title(title, size=9, color=INK, loc="left")
        axes.set_yticks([])
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0)
        axes.tick_params(labelsize=8, colors=INK, length=2)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(LINE)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        [name.replace("$", r"\$") for name in names],  # a dollar would start a formula
        loc="lower center",
        ncols=min(6, len(names)),
        frameon=False,
        fontsize=8.5,
        bbox_to_anchor=(0.5, -0.06 - 0.09 * ((len(names) - 1) // 6)),
    )
    figure.subplots_adjust(wspace=0.08, left=0.01, right=0.99, bottom=0.14, top=0.9)
    return inline_svg(figure, f"Colors of tissue in L*a*b*: {', '.join(names)}")


def _edges(sets: list[Floats], axis: int) -> NDArray[np.float64]:
    """Bins that hold nearly all of every set."""
    limits = [np.percentile(lab[:, axis], [0.5, 99.5]) for lab in sets if len(lab)]
    low, high = min(pair[0] for pair in limits), max(pair[1] for pair in limits)
    return np.linspace(low, max(high, low + 1.0), NUM_BINS + 1)


def _density(lab: Floats, axis: int, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts, _ = np.histogram(lab[:, axis], edges)
    return np.asarray(counts / max(1, len(lab)), np.float64)
