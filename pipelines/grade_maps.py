"""Pictures of what grade each tile of a slide was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import publish
from pipelines.prediction_tables import (
    TilePredictions,
    read_slide_predictions,
    read_tile_predictions,
    slides_table,
)

MOST_PX = 480  # of the longer side


def draw_maps(predictions: Path, out: Path) -> list[Path]:
    """OUT/<slide_id>.png for every slide of a table of tiles: the most probable grade, paler where
    it is less sure.
    """
    tiles = read_tile_predictions(predictions)
    slides = read_slide_predictions(slides_table(predictions), tiles.grades)
    written = []
    for number, slide_id in enumerate(slides.slide_ids):
        rows = np.flatnonzero(tiles.slide_N == slide_id)
        if len(rows):
            size = slides.l0_size_S2[number]
            said = tiles.grades[slides.grade_S[number]] if slides.grade_S[number] >= 0 else "?"
            written.append(out / f"{slide_id}.png")
            _draw(tiles, rows, size, f"{slide_id}: {said}", written[-1])
    return written


def _draw(
    tiles: TilePredictions,
    rows: NDArray[np.int64],
    l0_size: NDArray[np.int64],
    title: str,
    path: Path,
) -> None:
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    palette = colormaps["RdYlGn_r"](np.linspace(0.08, 0.95, len(tiles.grades)))[:, :3]
    corners, edge = tiles.l0_xy[rows], max(1, int(tiles.l0_edge_N[rows[0]]))
    width, height = (int(size) or int(corners[:, i].max()) + edge for i, size in enumerate(l0_size))
    step = max(edge / 12, max(width, height) / MOST_PX)
    shape = (int(np.ceil(height / step)), int(np.ceil(width / step)), 3)
    picture = np.ones(shape)
    for (x, y), chances in zip(corners.tolist(), tiles.probability_NC[rows], strict=True):
        grade = int(chances.argmax())
        sure = (chances[grade] * len(chances) - 1) / max(1, len(chances) - 1)
        color = 1 - (1 - palette[grade]) * (0.35 + 0.65 * sure)
        picture[int(y / step) : int((y + edge) / step), int(x / step) : int((x + edge) / step)] = (
            color
        )
    figure = Figure(figsize=(6, 6 * shape[0] / shape[1] + 0.8), layout="constrained")
    axis = figure.subplots()
    axis.imshow(picture, interpolation="nearest", extent=(0, width, height, 0))
    axis.set_title(f"Research use only. {title}", fontsize=9)
    axis.tick_params(labelsize=7)
    patches = [Patch(color=c, label=g) for c, g in zip(palette, tiles.grades, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    with publish(path) as scratch:
        figure.savefig(scratch, format="png", dpi=110)
