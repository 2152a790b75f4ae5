"""Hand predictions to other programs: QuPath, slide viewers, data frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pathology.core.artifact import publish
from pathology.core.errors import ArtifactError, ConfigError, PathologyError, SlideError, reason_of
from pathology.core.table import dialect_of
from pathology.interop.graded_tiles import GradedTiles, export_regions, export_tiles
from pathology.interop.heatmap_tiff import export_heatmap
from pipelines.export import ExportOutcome
from pipelines.grade_maps import draw_map
from pipelines.graded_slides import graded_slides
from pipelines.prediction_tables import PREFIX, slides_table

FORMATS = ("geojson", "regions", "ome-tiff", "png", "parquet")


def export_predictions(
    predictions: Path,
    out: Path,
    formats: Sequence[str],
    report: Callable[[ExportOutcome], None] = lambda outcome: None,
) -> list[ExportOutcome]:
    """Write the answers of a table of predictions in some of FORMATS below OUT.

    geojson   OUT/geojson/<slide_id>.geojson, a QuPath tile each; regions: annotations, of
              neighboring tiles of one grade
    ome-tiff  OUT/heatmaps/<slide_id>.ome.tiff, a pyramid that lies on the slide; png: a picture
    parquet   OUT/tiles.parquet and OUT/slides.parquet: the tables themselves
    A slide that cannot be written costs itself, and so does one that the table of slides lacks.
    Raises ConfigError for another format.
    """
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or not formats:
        said = ", ".join(wrong) or "none given"
        raise ConfigError(f"formats of predictions: {said}; expected some of {', '.join(FORMATS)}")
    outcomes: list[ExportOutcome] = []

    def lacks_a_row(slide_id: str) -> None:
        table = slides_table(predictions).name
        problem = f"left out, it has tiles but no row in {table}: predict again"
        outcomes.append(ExportOutcome(slide_id=slide_id, problem=problem))
        report(outcomes[-1])

    for slide in graded_slides(predictions, lacks_a_row):
        outcomes.append(_export(slide, out, [name for name in formats if name != "parquet"]))
        report(outcomes[-1])
    if "parquet" in formats:
        _write_parquet(predictions, out / "tiles.parquet")
        _write_parquet(slides_table(predictions), out / "slides.parquet")
    return outcomes


def _export(slide: GradedTiles, out: Path, formats: Sequence[str]) -> ExportOutcome:
    files: list[Path] = []
    try:
        for name in formats:
            files.append(_write(name, slide, out))
    except (PathologyError, OSError) as fault:
        return ExportOutcome(slide_id=slide.slide_id, files=tuple(files), problem=reason_of(fault))
    return ExportOutcome(slide_id=slide.slide_id, num_tiles=len(slide.l0_xy), files=tuple(files))


def _write(name: str, slide: GradedTiles, out: Path) -> Path:
    if Path(slide.slide_id).name != slide.slide_id:
        raise SlideError(slide.slide_id, "its id cannot be a file name", "Rename it")
    if name == "geojson":
        return export_tiles(slide, out / "geojson" / f"{slide.slide_id}.geojson")
    if name == "regions":
        return export_regions(slide, out / "regions" / f"{slide.slide_id}.geojson")
    path = out / "heatmaps" / f"{slide.slide_id}.{'png' if name == 'png' else 'ome.tiff'}"
    return draw_map(slide, path) if name == "png" else export_heatmap(slide, path)


def _write_parquet(table: Path, path: Path) -> None:
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    names = parquet.read_schema(path).names if path.is_file() else [PREFIX]
    if not any(name.startswith(PREFIX) for name in names):
        raise ArtifactError(f"{path}: another table, which would be replaced. Give another --out")
    delimiter, decimal = dialect_of(table)
    kept = arrow_csv.ConvertOptions(
        column_types={"slide_id": "string", "grade": "string"}, decimal_point=decimal
    )
    written = arrow_csv.ParseOptions(delimiter=delimiter)
    with publish(path) as scratch:
        found = arrow_csv.read_csv(table, parse_options=written, convert_options=kept)
        parquet.write_table(found, scratch)
