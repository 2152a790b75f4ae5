"""The tile command: a manifest of slides in, a run folder of tile stores and tables out."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

from pathology.core.artifact import content_digest, sweep_scratch
from pathology.core.batch import Batch
from pathology.core.config import load_config
from pathology.core.errors import ConfigError, ManifestError
from pathology.core.manifest import Manifest, SlideRecord, read_manifest
from pathology.core.output_place import RUN_TABLE, require_no_store, require_own
from pathology.core.run_record import environment, now, num_cores, write_run_record
from pathology.core.supervise import Task
from pathology.tiling.config import TilingConfig, TilingJob
from pathology.tiling.outcome import FAILED, PENDING, SlideOutcome, facts_of
from pipelines.progress import progress
from pipelines.tables import (
    ProcessList,
    count_statuses,
    one_line,
    read_process_list,
    write_summary,
)
from pipelines.tile_work import SlideTask, fail_one, plan_one, start_workers, tasks_of, tile_one

MAX_LISTED = 10


@dataclass(frozen=True)
class TileOptions:
    """How a tiling run is done; see the command's help for each."""

    manifest: Path
    out: Path
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    data_root: Path | None = None
    coords: Path | None = None
    coords_only: bool = False
    assume_mpp: float | None = None
    verify: bool = False
    is_tcga: bool = False
    slides: tuple[str, ...] = ()
    limit: int | None = None
    part: str | None = None
    workers: int | None = None
    scheduler: str | None = None
    timeout_s: float | None = None
    dry_run: bool = False


def run_tiling(options: TileOptions) -> int:
    """Tile every slide of a manifest with the settings that the options name.

    Returns the exit code: 0 all fine, 1 some slides failed. Raises ConfigError or ManifestError
    before anything is read or written.
    """
    return tile_manifest(options, load_config(TilingConfig, options.config, options.overrides))


def tile_manifest(options: TileOptions, config: TilingConfig) -> int:
    """Tile every slide of a manifest with these settings; returns the exit code."""
    workers = num_cores() if options.workers is None else options.workers
    if workers and not options.scheduler:
        start_workers()  # unless they were started as soon as the command was known
    manifest = read_manifest(options.manifest, options.data_root, is_tcga=options.is_tcga)
    chosen = tasks_of(_choose(manifest, options), options.coords)
    for remark in manifest.remarks:
        print(f"note: {remark}", file=sys.stderr)
    at_once = max(1, min(workers, len(chosen)))
    job = TilingJob(
        out=options.out.resolve(),
        coords_only=options.coords_only,
        assume_mpp=options.assume_mpp,
        verify=options.verify,
        threads=1 if options.scheduler else max(1, -(-workers // at_once)),
    )
    work = plan_one if options.dry_run else tile_one
    task = Task(partial(work, config=config, job=job), fail_one, options.timeout_s)
    batch = Batch(task, min(workers, at_once), options.scheduler)
    if options.dry_run:
        return _print_plans(batch, chosen, manifest)
    return _tile_all(batch, chosen, manifest, config, job, options)


def _choose(manifest: Manifest, options: TileOptions) -> list[SlideRecord]:
    """The slides of this run: all, or those asked for by --slide, --part and --limit."""
    unknown = set(options.slides) - set(manifest.slide_ids)
    if unknown:
        raise ManifestError(
            f"{options.manifest}: no slide {', '.join(sorted(unknown))}. It has "
            f"{', '.join(manifest.slide_ids[:MAX_LISTED])}"
            f"{', ...' if len(manifest.slide_ids) > MAX_LISTED else ''}"
        )
    chosen = [s for s in manifest.slides if not options.slides or s.slide_id in options.slides]
    first, step = _part(options.part)
    return chosen[first::step][: options.limit]


def _part(text: str | None) -> tuple[int, int]:
    """First slide and step of a part such as 3/32.

    >>> _part("3/32"), _part(None)
    ((3, 32), (0, 1))
    """
    if text is None:
        return 0, 1
    first, _, num = text.partition("/")
    if not (first.isdecimal() and num.isdecimal() and int(first) < int(num)):
        raise ConfigError(f"--part {text}: expected K/N with K from 0 to N-1, e.g. 3/32")
    return int(first), int(num)


def _tile_all(
    batch: Batch[SlideTask, SlideOutcome],
    chosen: Sequence[SlideTask],
    manifest: Manifest,
    config: TilingConfig,
    job: TilingJob,
    options: TileOptions,
) -> int:
    started, start = now(), time.perf_counter()
    require_no_store(job.out)
    require_own(job.out, RUN_TABLE, ("run.json", "summary.md"))
    aside = ThreadPoolExecutor(1)
    surroundings = aside.submit(environment)
    job.store_path("").parent.mkdir(parents=True, exist_ok=True)
    _sweep(job)
    table = ProcessList(job.out / "process_list.csv", _first_rows(manifest, chosen, job))

    try:
        with progress("tiling", len(chosen)) as shown:

            def on_result(outcome: SlideOutcome) -> None:
                table.put(outcome)
                shown.item(_line(outcome))

            batch.run(chosen, on_result, shown.step)
    finally:
        table.save()
        _sweep(job)
        rows = list(table.rows.values())
        meant = {task.record.slide_id for task in chosen}
        if not (options.slides or options.part or options.limit is not None):
            meant |= {fault.slide_id for fault in manifest.rejected}
        seconds = time.perf_counter() - start
        facts = _facts(rows, seconds, config, options)
        write_run_record(job.out / "run.json", started, facts, surroundings.result())
        aside.shutdown()
        said = {"Settings": str(options.config or "defaults"), "Result": one_line(rows, seconds)}
        write_summary(job.out / "summary.md", "Tiling run", rows, said)
    return _finish(rows, meant, seconds, job.out)


def _finish(rows: Sequence[SlideOutcome], meant: Collection[str], seconds: float, out: Path) -> int:
    """Tell how it ended and what to do next; returns the exit code, by the rows that were meant."""
    print(one_line(rows, seconds))
    failures = [row for row in rows if row.status == FAILED]
    for row in failures[:MAX_LISTED]:
        print(f"  {row.slide_id}: {row.reason}")
    if len(failures) > MAX_LISTED:
        print(f"  and {len(failures) - MAX_LISTED} more in {out / 'process_list.csv'}")
    print(f"Next: pathology report {quote(str(out))}")
    return 1 if any(row.slide_id in meant for row in failures) else 0


def _print_plans(
    batch: Batch[SlideTask, SlideOutcome], chosen: Sequence[SlideTask], manifest: Manifest
) -> int:
    """One line a slide with what would be done, and the sum."""
    outcomes = batch.run(chosen)
    rows = [*outcomes, *(_rejected(fault) for fault in manifest.rejected)]
    for row in rows:
        if row.status == FAILED:
            print(f"{row.slide_id}: {row.reason}")
        else:
            size = f", about {_size(row.store_bytes)}" if row.store_bytes else ""
            print(f"{row.slide_id}: {row.plan}; {row.num_tiles:,} tiles{size}")
    total = sum(row.store_bytes or 0 for row in rows)
    num_tiles = sum(row.num_tiles for row in rows)
    print(f"{len(rows)} slides, {num_tiles:,} tiles, about {_size(total)}. Nothing was written.")
    return 1 if any(row.status == FAILED for row in rows) else 0


def _first_rows(
    manifest: Manifest, chosen: Sequence[SlideTask], job: TilingJob
) -> list[SlideOutcome]:
    """A row for every slide, in the manifest's order: pending, rejected, or from an earlier run."""
    now_chosen = {task.record.slide_id for task in chosen}
    before = {row.slide_id: row for row in read_process_list(job.out / "process_list.csv")}
    rows = {fault.slide_id: _rejected(fault) for fault in manifest.rejected}
    for slide in manifest.slides:
        pending = SlideOutcome(**facts_of(slide), status=PENDING, reason="not finished")
        is_kept = slide.slide_id not in now_chosen and slide.slide_id in before
        rows[slide.slide_id] = before[slide.slide_id] if is_kept else pending
    return [rows[slide_id] for slide_id in manifest.slide_ids]


def _rejected(fault: Any) -> SlideOutcome:
    return SlideOutcome(slide_id=fault.slide_id, status=FAILED, reason=fault.reason)


def _facts(
    rows: Sequence[SlideOutcome], seconds: float, config: TilingConfig, options: TileOptions
) -> dict[str, Any]:
    said = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(options).items()}
    return {
        "stage": "tile",
        "config": config.model_dump(mode="json"),
        "options": said,
        "inputs": {
            "manifest": str(options.manifest),
            "digest": content_digest(options.manifest) if options.manifest.is_file() else None,
        },
        "outcomes": count_statuses(rows),
        "num_tiles": sum(row.num_tiles for row in rows),
        "seconds": round(seconds, 3),
    }


def _sweep(job: TilingJob) -> None:
    for folder in (job.out, job.out / "tiles", job.out / "overlays", job.out / "masks"):
        if folder.is_dir():
            sweep_scratch(folder)


def _line(outcome: SlideOutcome) -> str:
    if outcome.status == FAILED:
        return f"{outcome.slide_id}: FAILED: {outcome.reason}"
    said = f" ({outcome.reason})" if outcome.reason else ""
    return (
        f"{outcome.slide_id}: {outcome.status}, {outcome.num_tiles:,} tiles, {outcome.plan}, "
        f"{outcome.seconds:.1f} s{said}"
    )


def _size(num_bytes: int | None) -> str:
    value, units = float(num_bytes or 0), ("B", "kB", "MB", "GB", "TB")
    number = 0
    while value >= 999.5 and number < len(units) - 1:
        value, number = value / 1000, number + 1
    return f"{value:.3g} {units[number]}"
