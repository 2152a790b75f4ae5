"""Hand a run's tiles to other programs: TRIDENT, CLAM, QuPath, or plain picture files."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathology.core.errors import ArtifactError, ConfigError, PathologyError
from pathology.interop.export_coords import LAYOUTS, Layout, export_clam, export_trident
from pathology.interop.geojson import export_geojson
from pathology.interop.pictures import export_pictures
from pathology.interop.tile_facts import TileFacts, facts_of_store
from pathology.tiling.store import TileStore, open_tiles

log = logging.getLogger(__name__)

FORMATS = ("trident", "clam", "geojson", "jpg", "png")


@dataclass(frozen=True, kw_only=True)
class ExportOutcome:
    """What became of one slide's export.

    files      what was written: coordinate files, GeoJSON, folders of pictures
    problem    why not all of it, or None
    error      the traceback of a fault nobody foresaw
    """

    slide_id: str
    num_tiles: int = 0
    files: tuple[Path, ...] = ()
    problem: str | None = None
    error: str = ""
    seconds: float = 0.0


def export_run(
    run: Path,
    out: Path,
    formats: Sequence[str],
    layout: str = "mpp",
    report: Callable[[ExportOutcome], None] = lambda outcome: None,
) -> list[ExportOutcome]:
    """Export every tile store of a run, RUN/tiles/*.zarr; a bad store costs its slide only.

    formats  any of FORMATS
    layout   "mpp" or "trident": how the folder of TRIDENT's files is named
    report   hears of each slide when it is done
    Raises ConfigError for an unknown format or layout, ArtifactError where there are no stores.
    """
    if not formats or not set(formats) <= set(FORMATS):
        wrong = ", ".join(sorted(set(formats) - set(FORMATS))) or "none given"
        raise ConfigError(f"formats: {wrong}; expected some of {', '.join(FORMATS)}")
    chosen: Layout | None = next((name for name in LAYOUTS if name == layout), None)
    if chosen is None:
        raise ConfigError(f"layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    paths = sorted((run / "tiles").glob("[!.]*.zarr"))
    if not paths:
        raise ArtifactError(f"{run}: holds no tiles/*.zarr: give the folder of a tiling run")
    outcomes = []
    for path in paths:
        outcomes.append(_export_slide(path, out, formats, chosen))
        report(outcomes[-1])
    return outcomes


def _export_slide(path: Path, out: Path, formats: Sequence[str], layout: Layout) -> ExportOutcome:
    start = time.perf_counter()
    slide_id, num_tiles, problem, error = path.name.removesuffix(".zarr"), 0, None, ""
    files: list[Path] = []
    try:
        store = open_tiles(path)
        facts = facts_of_store(store)
        slide_id, num_tiles = facts.slide_id, len(store)
        for name in dict.fromkeys(formats):
            files.append(_write(name, store, facts, out, layout))
    except PathologyError as fault:
        problem = str(fault)
    except OSError as fault:
        problem = f"{fault.strerror or fault}{f' ({fault.filename})' if fault.filename else ''}"
    except Exception as surprise:  # noqa: BLE001 - a bug on one slide must not cost the others
        problem = f"unexpected {type(surprise).__name__}: {str(surprise)[:300]}"
        error = traceback.format_exc()
    if problem:
        log.warning("%s: %s", slide_id, problem)
    return ExportOutcome(
        slide_id=slide_id,
        num_tiles=num_tiles,
        files=tuple(files),
        problem=problem,
        error=error,
        seconds=round(time.perf_counter() - start, 3),
    )


def _write(name: str, store: TileStore, facts: TileFacts, out: Path, layout: Layout) -> Path:
    if name == "trident":
        return export_trident(facts, out, layout)
    if name == "clam":
        return export_clam(facts, out)
    if name == "geojson":
        return export_geojson(facts, out)
    return export_pictures(store, facts.slide_id, out, "png" if name == "png" else "jpg")
