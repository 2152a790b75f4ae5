"""The tiling of one slide as a worker process or a cluster is asked for it.

This module loads nothing heavy, so that a command can name the work before its libraries are in
memory; they are loaded where the work is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pathology.core.errors import ConfigError, PathologyError, SlideError
from pathology.core.supervise import prepare_workers

if TYPE_CHECKING:
    from pathology.core.manifest import SlideRecord
    from pathology.interop.coordinates import Listing
    from pathology.tiling.config import GivenTiles, TilingConfig, TilingJob
    from pathology.tiling.outcome import SlideOutcome

PRELOAD = ("pathology.tiling.extract", "pipelines.tile_work")
Report = Callable[[int], None]


@dataclass(frozen=True)
class SlideTask:
    """One slide to tile.

    coords  another tool's file with its tiles; see tasks_of
    fault   why they could not be found, which is the slide's own
    """

    record: SlideRecord
    coords: Path | None = None
    fault: PathologyError | None = None


def tasks_of(records: Iterable[SlideRecord], coords: Path | None) -> list[SlideTask]:
    """A task for each slide; a folder of coordinates is looked through once for all of them."""
    records = list(records)
    if coords is None or (coords.is_file() and len(records) == 1):
        return [SlideTask(record, coords) for record in records]
    if not coords.exists():
        raise ConfigError(f"--coords {coords}: no such file or folder")
    from pathology.interop.coordinates import list_coordinates

    listing = [] if coords.is_file() else list_coordinates(coords)
    return [_found(record, coords, listing) for record in records]


def start_workers() -> None:
    """Start what worker processes are forked from; it loads their libraries meanwhile."""
    prepare_workers(PRELOAD)


def tile_one(
    task: SlideTask, *, config: TilingConfig, job: TilingJob, report: Report
) -> SlideOutcome:
    """Tile one slide; see extract.tile_slide."""
    from pathology.tiling.extract import tile_slide

    return tile_slide(task.record, config, job, report, _given(task, job))


def plan_one(
    task: SlideTask, *, config: TilingConfig, job: TilingJob, report: Report
) -> SlideOutcome:
    """Plan one slide; see extract.plan_slide."""
    from pathology.tiling.extract import plan_slide

    return plan_slide(task.record, config, job, _given(task, job))


def fail_one(task: SlideTask, fault: Exception, seconds: float, error: str) -> SlideOutcome:
    """The row of a slide that could not be done."""
    from pathology.tiling.outcome import failed

    return failed(task.record, fault, seconds, error)


def _given(task: SlideTask, job: TilingJob) -> GivenTiles | None:
    if task.fault is not None:
        raise task.fault
    if task.coords is None:
        return None
    from pathology.interop.coordinates import read_coordinates
    from pathology.tiling.config import GivenTiles

    read = read_coordinates(task.coords, partial(_l0_mpp, task.record, job))
    return GivenTiles(read.l0_xy, read.l0_tile_size, read.size_px, read.l0_slide)


def _l0_mpp(record: SlideRecord, job: TilingJob) -> float:
    """Level-0 microns per pixel, as tiling takes it. Raises SlideError where it is not known."""
    from contextlib import closing

    from pathology.slides.open import open_slide
    from pathology.slides.resolution import decide_spacing

    with closing(open_slide(record)) as slide:
        spacings = slide.facts.spacings
    return decide_spacing(record.slide_id, record.mpp, spacings, job.assume_mpp).mpp[0]


def _found(record: SlideRecord, folder: Path, listing: Listing) -> SlideTask:
    try:
        return SlideTask(record, _search(record.slide_id, folder, listing))
    except PathologyError as fault:
        return SlideTask(record, folder, fault)


def _search(slide_id: str, folder: Path, listing: Listing) -> Path:
    from pathology.interop.coordinates import find_coordinates

    path = find_coordinates(folder, slide_id, listing)
    if path is None:
        raise SlideError(
            slide_id,
            f"{folder} holds no coordinates of this slide",
            "Its file must be named after the slide, e.g. SLIDE_patches.h5",
        )
    return path
