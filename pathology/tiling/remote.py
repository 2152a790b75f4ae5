"""The tiling of one slide as a worker process or a cluster is asked for it.

This module loads nothing heavy, so that a command can name the work before its libraries are in
memory; they are loaded where the work is done.
"""

from __future__ import annotations

from collections.abc import Callable

from pathology.core.manifest import SlideRecord
from pathology.tiling.config import TilingConfig, TilingJob
from pathology.tiling.outcome import SlideOutcome

PRELOAD = ("pathology.tiling.extract", "pathology.tiling.remote")
Report = Callable[[int], None]


def tile_one(
    record: SlideRecord, *, config: TilingConfig, job: TilingJob, report: Report
) -> SlideOutcome:
    """Tile one slide; see extract.tile_slide."""
    from pathology.tiling.extract import tile_slide

    return tile_slide(record, config, job, report)


def plan_one(
    record: SlideRecord, *, config: TilingConfig, job: TilingJob, report: Report
) -> SlideOutcome:
    """Plan one slide; see extract.plan_slide."""
    from pathology.tiling.extract import plan_slide

    return plan_slide(record, config, job)
