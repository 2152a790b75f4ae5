"""The slides of a table of predictions, with the grades of their tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pathology.interop.graded_tiles import GradedTiles
from pipelines.prediction_tables import (
    read_rows,
    read_slide_predictions,
    read_tile_predictions,
    slides_table,
    sureness,
)


def graded_slides(
    predictions: Path, on_missing: Callable[[str], None] = lambda slide_id: None
) -> Iterator[GradedTiles]:
    """The slides of a table of predictions that have graded tiles.

    on_missing  told of each slide whose tiles are there, but which the table of slides lacks

    Raises ArtifactError where it is none.
    """
    tiles = read_tile_predictions(predictions)
    table = slides_table(predictions)
    slides = read_slide_predictions(table, tiles.grades)
    said = {row["slide_id"]: row for row in read_rows(table)[1]}
    rows_of = tiles.by_slide()
    for slide_id in rows_of:
        if slide_id not in said:
            on_missing(slide_id)
    for number, slide_id in enumerate(slides.slide_ids):
        rows = rows_of.get(slide_id, [])
        if not rows:
            continue
        row = said[slide_id]
        width, height = slides.l0_size_S2[number].tolist()
        grade = int(slides.grade_S[number])
        sure = "" if grade < 0 else sureness(tiles.grades, grade, slides.probability_SC[number])
        yield GradedTiles(
            slide_id, tiles.grades, tiles.probability_NC[rows], tiles.l0_xy[rows],
            max(1, int(tiles.l0_edge_N[rows[0]])), (width, height),
            (int(row.get("l0_offset_x") or 0), int(row.get("l0_offset_y") or 0)),
            float(row["mpp"].replace(",", ".")) if row.get("mpp") else None, row["grade"], sure,
        )  # fmt: skip
