"""Small charts as SVG that stands in a page without a reference to anything outside."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from pathology.evaluation.remarks import Step

BAR, LAST_BAR, INK, LINE = "#b9cbd6", "#2f7d5b", "#1f2933", "#d5dde4"
OUTSIDE = re.compile(r'\s(?:xmlns(?::\w+)?)="[^"]*"')


def steps_chart(steps: Sequence[Step]) -> str:
    """Bars of the tiles left after each filter, as an inline <svg> element."""
    figure = Figure(figsize=(7.2, 0.34 * len(steps) + 0.1))
    axes = figure.subplots()
    values = [step.num_tiles for step in steps]
    places = range(len(steps))
    colors = [BAR] * (len(steps) - 1) + [LAST_BAR]
    axes.barh(places, values, color=colors, height=0.66)
    most = max(values, default=0) or 1
    for place, value in zip(places, values, strict=True):
        share = f"  ({value / most:.1%})" if place else ""
        axes.text(value + most * 0.012, place, f"{value:,}{share}", va="center", color=INK, size=9)
    axes.set_yticks(places, [step.name for step in steps], color=INK, size=9)
    axes.set_xlim(0, most * 1.22)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(LINE)
    said = ", ".join(f"{step.name} {step.num_tiles}" for step in steps)
    return inline_svg(figure, f"Tiles left after each filter: {said}")


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an <svg> element: text stays text, and no address is left in it."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "steps"}):
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", transparent=True, metadata=nothing
        )
    text = buffer.getvalue()
    text = OUTSIDE.sub("", text[text.index("<svg") :])
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{quoted}"', 1)
