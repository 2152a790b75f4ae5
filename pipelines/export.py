"""Hand a run's tiles to other programs: TRIDENT, CLAM, QuPath, or plain picture files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pathology.core.batch import Batch
from pathology.core.errors import ConfigError, reason_of
from pathology.core.supervise import Report, Task
from pathology.interop.export_coords import LAYOUTS, Layout, export_clam, export_trident
from pathology.interop.geojson import export_geojson
from pathology.interop.pictures import export_pictures
from pathology.interop.tile_facts import TileFacts, facts_of_store
from pathology.tiling.store import TileStore, open_tiles
from pipelines.run_stores import WithoutStore, read_stores

FORMATS = ("trident", "clam", "geojson", "jpg", "png")


@dataclass(frozen=True, kw_only=True)
class ExportOutcome:
    """What became of one slide's export.

    files      what was written: coordinate files, GeoJSON, folders of pictures
    problem    why not all of it, or None
    reason     why there is nothing to write, where that is no fault
    error      the traceback of a fault nobody foresaw
    """

    slide_id: str
    num_tiles: int = 0
    files: tuple[Path, ...] = ()
    problem: str | None = None
    reason: str = ""
    error: str = ""
    seconds: float = 0.0

    def line(self) -> str:
        """For people."""
        return f"{self.slide_id}: {self.problem or self.reason or f'{self.num_tiles:,} tiles'}"


def export_run(
    run: Path,
    out: Path,
    formats: Sequence[str],
    layout: str = "mpp",
    report: Callable[[ExportOutcome], None] = lambda outcome: None,
    on_tiles: Callable[[int], None] = lambda num: None,
) -> list[ExportOutcome]:
    """Export the tile stores of a run that count; a bad store costs its slide only.

    formats  any of FORMATS
    layout   "mpp" or "trident": how the folder of TRIDENT's files is named
    report   hears of each slide when it is done, first of those that have no tiles
    Raises ConfigError for an unknown format or layout, ArtifactError where there are no stores.
    """
    chosen = require_known(formats, layout)
    found = read_stores(run)
    missing = [_without(one) for one in found.missing]
    for outcome in missing:
        report(outcome)
    work = partial(_export_slide, out=out, formats=formats, layout=chosen)
    return [*missing, *Batch(Task(work, _failure)).run(found.stores, report, on_tiles)]


def require_known(formats: Sequence[str], layout: str) -> Layout:
    """The layout. Raises ConfigError for one that is unknown, and for such a format."""
    if not formats or not set(formats) <= set(FORMATS):
        wrong = ", ".join(sorted(set(formats) - set(FORMATS))) or "none given"
        raise ConfigError(f"formats: {wrong}; expected some of {', '.join(FORMATS)}")
    chosen: Layout | None = next((name for name in LAYOUTS if name == layout), None)
    if chosen is None:
        raise ConfigError(f"layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    return chosen


def _export_slide(
    path: Path, *, out: Path, formats: Sequence[str], layout: Layout, report: Report
) -> ExportOutcome:
    start = time.perf_counter()
    store = open_tiles(path)
    facts = facts_of_store(store)
    files = [_write(name, store, facts, out, layout) for name in dict.fromkeys(formats)]
    report(len(store))
    return ExportOutcome(
        slide_id=facts.slide_id,
        num_tiles=len(store),
        files=tuple(files),
        seconds=round(time.perf_counter() - start, 3),
    )


def _failure(path: Path, fault: Exception, seconds: float, error: str) -> ExportOutcome:
    name, said = path.name.removesuffix(".zarr"), reason_of(fault)
    return ExportOutcome(slide_id=name, problem=said, error=error, seconds=round(seconds, 3))


def _without(one: WithoutStore) -> ExportOutcome:
    problem = one.reason if one.is_failed else None
    return ExportOutcome(slide_id=one.slide_id, problem=problem, reason=one.reason)


def _write(name: str, store: TileStore, facts: TileFacts, out: Path, layout: Layout) -> Path:
    if name == "trident":
        return export_trident(facts, out, layout)
    if name == "clam":
        return export_clam(facts, out)
    if name == "geojson":
        return export_geojson(facts, out)
    return export_pictures(store, facts.slide_id, out, "png" if name == "png" else "jpg")
