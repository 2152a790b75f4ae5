"""The report command: a run folder in, one HTML page out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pathology.core.artifact import write_text
from pathology.core.errors import ArtifactError
from pathology.evaluation.report import RunFindings, SlideFindings, TilePair, render_report
from pathology.slides import jpeg
from pathology.slides.reader import Pixels, scale_to
from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import DONE, EMPTY, SlideOutcome
from pathology.tiling.store import TileStore, open_tiles, read_attributes
from pipelines.overlay_table import read_slides_said
from pipelines.prediction_tables import slides_table
from pipelines.report_sections import sections_of
from pipelines.stain_table import read_stain_table
from pipelines.tables import read_process_list

PICTURE_BYTES = 9_000_000  # of all pictures; a third more as text in the page
MAX_SLIDE_BYTES = 450_000
OVERLAY_SHARE, HEATMAP_SHARE = 0.5, 0.15
OVERLAY_EDGES = (1000, 800, 640, 500, 360, 240)
NUM_SAMPLES, SAMPLE_PX = 6, 192
QUALITY = 80


def write_report(run: Path, out: Path | None = None, stain_run: Path | None = None) -> Path:
    """Write the report of a tiling run and return its path.

    out        the page, or a folder for it; default: report.html in the run
    stain_run  the run's normalized copy, to show tiles before and after
    Raises ArtifactError where the folder holds no run, or stain_run is none. What else is missing
    is left out.
    """
    outcomes = _outcomes(run)
    page = out or run
    if page.suffix.lower() not in (".html", ".htm"):
        page = page / "report.html"
    stains = _read_stains(stain_run)
    budget = min(MAX_SLIDE_BYTES, PICTURE_BYTES // max(1, len(outcomes)))
    grades = _grades(run)
    slides = [
        SlideFindings(
            outcome=outcome,
            **_pictures(run, outcome, budget, stain_run),
            grade=grades.get(outcome.slide_id, ""),
            stain=stains.get(outcome.slide_id),
        )
        for outcome in outcomes
    ]
    findings = RunFindings(
        slides=slides,
        record=_read_record(run),
        stain_record=_read_record(stain_run) if stain_run else {},
        sections=(sections := sections_of(run)),
        title="Run report" if sections else "Tiling report",
    )
    write_text(page, render_report(findings))
    return page


def _pictures(
    run: Path, outcome: SlideOutcome, budget: int, stain_run: Path | None
) -> dict[str, Any]:
    """What is shown of a slide; of one that failed now nothing that an earlier run has left."""
    if outcome.status not in (DONE, EMPTY):
        return {}
    name = outcome.slide_id
    return {
        "overlay": _picture(run / "overlays", f"{name}.jpg", budget * OVERLAY_SHARE),
        "heatmap": _picture(run / "maps", f"{name}.png", budget * HEATMAP_SHARE),
        "samples": _samples(run, stain_run, name, budget),
    }


def _outcomes(run: Path) -> list[SlideOutcome]:
    """The rows of process_list.csv; without it, what the stores themselves recorded."""
    try:
        outcomes = read_process_list(run / "process_list.csv")
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{run / 'process_list.csv'}: cannot be read ({error})") from error
    outcomes = outcomes or list(_recorded(run))
    if not outcomes:
        raise ArtifactError(
            f"{run}: no run here (no process_list.csv, no tiles). Give the folder that "
            "'pathology tile' wrote"
        )
    return outcomes


def _recorded(run: Path) -> Iterator[SlideOutcome]:
    for path in sorted((run / "tiles").glob("*.zarr")):
        try:
            yield SlideOutcome.of_row(read_attributes(path)["outcome"])
        except (ArtifactError, KeyError, ValueError, TypeError):
            continue


def _read_record(run: Path) -> dict[str, Any]:
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _read_stains(stain_run: Path | None) -> dict[str, StainOutcome]:
    if stain_run is None:
        return {}
    if not stain_run.is_dir():
        raise ArtifactError(f"{stain_run}: no such folder. Give what pathology stain apply wrote")
    return {row.slide_id: row for row in read_stain_table(stain_run / "stain.csv")}


def _grades(run: Path) -> dict[str, str]:
    """What each slide was graded, and how sure; nothing where nothing was predicted."""
    said = read_slides_said(slides_table(run / "predictions.csv"))
    return {
        slide_id: one.grade if one.probability is None else f"{one.grade} ({one.probability:.2f})"
        for slide_id, one in said.items()
        if one.grade
    }


def _picture(folder: Path, name: str, budget: float) -> bytes:
    """A picture as JPEG, scaled down until it fits; nothing where there is none."""
    path = folder / name
    is_ours = path.name == name and path.is_file()
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) if is_ours else None
    if pixels is None:
        return b""
    picture = np.asarray(pixels, np.uint8)
    for edge in OVERLAY_EDGES:
        data = jpeg.encode(_fit(picture, edge), QUALITY, "420")
        if len(data) <= budget:
            return data
    return b""


def _samples(run: Path, stain_run: Path | None, slide_id: str, budget: int) -> list[TilePair]:
    """A few tiles spread over the slide, with their normalized twins; as many as fit."""
    before = _open(run, slide_id)
    if before is None or not len(before) or not before.has_pixels:
        return []
    after = _open(stain_run, slide_id) if stain_run else None
    if after is not None and not np.array_equal(after.l0_xy, before.l0_xy):
        after = None  # of another tiling: not the same tiles
    rows = np.unique(np.linspace(0, len(before) - 1, NUM_SAMPLES + 2)[1:-1].round().astype(int))
    pairs: list[TilePair] = []
    left = budget * (1 - OVERLAY_SHARE - HEATMAP_SHARE)
    for row in _spread(rows.tolist()):
        x, y = before.l0_xy[row].tolist()
        pair = TilePair((x, y), _tile(before, row), _tile(after, row))
        left -= len(pair.before) + len(pair.after)
        if left < 0:
            break
        if pair.before:
            pairs.append(pair)
    return sorted(pairs, key=lambda pair: (pair.l0_xy[1], pair.l0_xy[0]))


def _spread(rows: Sequence[int]) -> list[int]:
    """The rows, the middle one first, so that few of them are still typical."""
    middle = (len(rows) - 1) / 2
    return sorted(rows, key=lambda row: abs(rows.index(row) - middle))


def _open(run: Path, slide_id: str) -> TileStore | None:
    path = run / "tiles" / f"{slide_id}.zarr"
    if path.name != f"{slide_id}.zarr":
        return None  # an id that leads elsewhere: no path is made of it
    try:
        return open_tiles(path)
    except (ArtifactError, OSError, KeyError, ValueError):
        return None


def _tile(store: TileStore | None, row: int) -> bytes:
    """One tile as a small JPEG; nothing where it cannot be read."""
    if store is None:
        return b""
    try:
        pixels = store.read([row])[0]
    except (ArtifactError, OSError, ValueError):
        return b""
    return jpeg.encode(_fit(pixels, SAMPLE_PX), QUALITY, "420")


def _fit(pixels: Pixels, edge: int) -> Pixels:
    """The picture scaled down so that its longer edge is at most edge pixels."""
    height, width = pixels.shape[:2]
    zoom = min(1.0, edge / max(height, width))
    return scale_to(pixels, (max(1, math.floor(width * zoom)), max(1, math.floor(height * zoom))))
