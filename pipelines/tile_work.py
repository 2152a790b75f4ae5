"""The tiling of one slide as a worker process or a cluster is asked for it.

This module loads nothing heavy, so that a command can name the work before its libraries are in
memory; they are loaded where the work is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pathology.core.errors import SlideError
from pathology.core.supervise import prepare_workers

if TYPE_CHECKING:
    from pathology.core.manifest import SlideRecord
    from pathology.tiling.config import GivenTiles, TilingConfig, TilingJob
    from pathology.tiling.outcome import SlideOutcome

PRELOAD = ("pathology.tiling.extract", "pipelines.tile_work")
Report = Callable[[int], None]


@dataclass(frozen=True)
class SlideTask:
    """One slide to tile; coords is another tool's file, or folder of files, with its tiles."""

    record: SlideRecord
    coords: Path | None = None


def start_workers() -> None:
    """Start what worker processes are forked from; it loads their libraries meanwhile."""
    prepare_workers(PRELOAD)


def tile_one(
    task: SlideTask, *, config: TilingConfig, job: TilingJob, report: Report
) -> SlideOutcome:
    """Tile one slide; see extract.tile_slide."""
    from pathology.tiling.extract import tile_slide

    return tile_slide(task.record, config, job, report, _given(task))


def plan_one(
    task: SlideTask, *, config: TilingConfig, job: TilingJob, report: Report
) -> SlideOutcome:
    """Plan one slide; see extract.plan_slide."""
    from pathology.tiling.extract import plan_slide

    return plan_slide(task.record, config, job, _given(task))


def fail_one(task: SlideTask, fault: Exception, seconds: float, error: str) -> SlideOutcome:
    """The row of a slide that could not be done."""
    from pathology.tiling.outcome import failed

    return failed(task.record, fault, seconds, error)


def _given(task: SlideTask) -> GivenTiles | None:
    if task.coords is None:
        return None
    from pathology.interop.coordinates import find_coordinates, read_coordinates
    from pathology.tiling.config import GivenTiles

    record, folder = task.record, task.coords
    path = folder if folder.is_file() else find_coordinates(folder, record.slide_id)
    if path is None:
        raise SlideError(
            record.slide_id,
            f"{folder} holds no coordinates of this slide",
            "Its file must be named after the slide, e.g. SLIDE_patches.h5",
        )
    read = read_coordinates(path, record.mpp)
    return GivenTiles(read.l0_xy, read.l0_tile_size, read.size_px)
