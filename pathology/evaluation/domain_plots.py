"""Pictures of two domains: where their tiles lie, and what two classifiers see otherwise.

N tiles, F numbers of each, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import publish
from pathology.slides.reader import Pixels

COLORS = ("#0b6e99", "#c2410c", "#2f7d5b", "#6d28d9", "#854d0e", "#8795a1")
NOTE = "Research use only"
COLUMNS = 4


class DomainPoints(NamedTuple):
    """Numbers (N, F) of a domain's tiles, and the class (N,) that colors each; -1: none."""

    values_NF: NDArray[np.float32]
    class_N: NDArray[np.int64]


class Disagreement(NamedTuple):
    """A tile (H, W, 3), its name, and the answers (C,) of both classifiers."""

    name: str
    tile_HW3: Pixels
    before_C: NDArray[np.float64]
    after_C: NDArray[np.float64]


def draw_domains(
    panels: dict[str, tuple[DomainPoints, DomainPoints]],
    classes: Sequence[str],
    path: Path,
    title: str,
) -> None:
    """Source and target on the two principal axes of both, a chart for each panel, as a PNG file.

    Dots are the source's tiles, by their labels; rings the target's, by the classes they are given.
    """
    from matplotlib.figure import Figure  # slow to load
    from sklearn.decomposition import PCA

    figure = Figure(figsize=(5.5 * len(panels), 5), layout="constrained")
    figure.suptitle(f"{NOTE}. {title}", fontsize=10)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, (source, target)) in zip(axes, panels.items(), strict=True):
        both_NF = np.concatenate([source.values_NF, target.values_NF])
        spread_F = np.maximum(both_NF.std(axis=0), 1e-6)
        axes_of = PCA(2, random_state=0).fit((both_NF - both_NF.mean(axis=0)) / spread_F)
        for points, is_source in ((source, True), (target, False)):
            place_N2 = axes_of.transform((points.values_NF - both_NF.mean(axis=0)) / spread_F)
            for number, said in enumerate(classes):
                mine = points.class_N == number
                color = COLORS[number % len(COLORS)]
                look = {"color": color} if is_source else {"fc": "none", "ec": color, "lw": 0.8}
                label = f"{'source' if is_source else 'target, given'} {said}"
                axis.scatter(*place_N2[mine].T, s=10 if is_source else 18, label=label, **look)
        axis.set_title(name, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    axes[-1].legend(fontsize=7, loc="best")
    with publish(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)


def draw_disagreements(
    found: Sequence[Disagreement], classes: Sequence[str], path: Path, title: str
) -> None:
    """Tiles with the likeliest class before and after, as a PNG file."""
    from matplotlib.figure import Figure

    num_rows = -(-len(found) // COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 3.4 * num_rows + 0.5), layout="constrained")
    figure.suptitle(f"{NOTE}. {title}", fontsize=10)
    axes = figure.subplots(num_rows, COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, one in zip(axes.flat, found, strict=False):
        axis.imshow(one.tile_HW3)
        said = " to ".join(
            f"{classes[int(answers.argmax())]} {answers.max():.2f}"
            for answers in (one.before_C, one.after_C)
        )
        axis.set_title(f"{one.name}\n{said}", fontsize=7)
    with publish(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)
