"""Pictures of what grade each tile of a slide was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pathology.core.artifact import publish
from pathology.interop.graded_tiles import GradedTiles, colors_of
from pipelines.graded_slides import graded_slides

MOST_PX = 480  # of the longer side


def draw_maps(predictions: Path, out: Path) -> list[Path]:
    """OUT/<slide_id>.png for every slide of a table of tiles; see draw_map."""
    return [draw_map(slide, out / f"{slide.slide_id}.png") for slide in graded_slides(predictions)]


def draw_map(slide: GradedTiles, path: Path) -> Path:
    """A picture of the likeliest grade of each tile, paler where it is less sure."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    palette = np.array(colors_of(len(slide.grades))) / 255
    edge = slide.l0_edge
    width, height = (
        size or int(slide.l0_xy[:, i].max()) + edge for i, size in enumerate(slide.l0_size)
    )
    step = max(edge / 12, max(width, height) / MOST_PX)
    shape = (int(np.ceil(height / step)), int(np.ceil(width / step)), 3)
    picture = np.ones(shape)
    for (x, y), chances in zip(slide.l0_xy.tolist(), slide.probability_NC, strict=True):
        grade = int(chances.argmax())
        sure = (chances[grade] * len(chances) - 1) / max(1, len(chances) - 1)
        color = 1 - (1 - palette[grade]) * (0.35 + 0.65 * sure)
        picture[int(y / step) : int((y + edge) / step), int(x / step) : int((x + edge) / step)] = (
            color
        )
    figure = Figure(figsize=(6, 6 * shape[0] / shape[1] + 0.8), layout="constrained")
    axis = figure.subplots()
    axis.imshow(picture, interpolation="nearest", extent=(0, width, height, 0))
    axis.set_title(f"Research use only. {title_of(slide)}", fontsize=9, wrap=True)
    axis.tick_params(labelsize=7)
    patches = [Patch(color=c, label=g) for c, g in zip(palette, slide.grades, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    with publish(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)
    return path


def title_of(slide: GradedTiles) -> str:
    """A slide's id with its grade and how sure that is."""
    sure = f" ({slide.sureness})" if slide.sureness else ""
    return f"{slide.slide_id}: {slide.grade or '?'}{sure}"
