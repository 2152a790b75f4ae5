"""Curves of a training's measurements as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pathology.core.artifact import publish

COLUMNS = 3


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """One small chart for every measurement of metrics.jsonl, over the steps, as a PNG file."""
    from matplotlib.figure import Figure  # slow to load

    names = [name for name in (rows[0] if rows else {}) if name not in ("step", "epoch")]
    if not names:
        return
    num_rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.4 * num_rows), layout="constrained")
    figure.suptitle(f"{title} (research use only)", fontsize=10)
    axes = figure.subplots(num_rows, COLUMNS, squeeze=False)
    steps = [row["step"] for row in rows]
    for axis, name in zip(axes.flat, names, strict=False):
        axis.plot(steps, [row.get(name, float("nan")) for row in rows], color="#2f7d5b", lw=1.2)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(color="#d5dde4", lw=0.5)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    with publish(path) as scratch:
        figure.savefig(scratch, format="png", dpi=100)
