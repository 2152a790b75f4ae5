"""The stain commands: fit a reference, and render a run's tile stores towards it."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pathology.core.artifact import sweep_scratch, write_text
from pathology.core.batch import Batch
from pathology.core.errors import ArtifactError
from pathology.core.run_record import environment, now, write_run_record
from pathology.core.supervise import Task
from pathology.stain.config import StainConfig
from pathology.stain.macenko import (
    TEXTBOOK,
    StainError,
    StainReference,
    fit_reference,
)
from pathology.stain.matrix import Pixels
from pathology.stain.normalize_store import normalize_store, sample_pixels
from pathology.stain.outcome import COLUMNS, StainOutcome, failed
from pathology.tiling.outcome import DONE, EMPTY, FAILED, PENDING
from pathology.tiling.store import open_tiles
from pipelines.tables import read_process_list

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MAX_IMAGE_PX = 100_000_000
MAX_REFERENCE_STORES = 50


@dataclass(frozen=True)
class StoreJob:
    """One store to read and the place of the one to write."""

    source: Path
    target: Path


def fit_model(target: Path, out: Path, config: StainConfig) -> StainReference:
    """Fit a reference style and write it to out as JSON.

    target  a run folder, one tile store (the median style of up to 50 stores), or an image file
    Raises StainError or ArtifactError where the target shows no H&E.
    """
    is_image = target.is_file() and target.suffix.lower() in IMAGE_SUFFIXES
    samples = [_read_image(target)] if is_image else _samples_of(target, config)
    reference = fit_reference(samples, config, source=target.name)
    reference.save(out)
    return reference


def load_model(path: Path | None) -> StainReference:
    """The reference of a JSON file, or the textbook's where no file is named."""
    return TEXTBOOK if path is None else StainReference.load(path)


def normalize_run(
    run: Path,
    out: Path,
    config: StainConfig,
    reference: StainReference = TEXTBOOK,
    *,
    workers: int = 0,
    timeout_s: float | None = None,
    on_outcome: Callable[[StainOutcome], None] = lambda outcome: None,
    on_progress: Callable[[int], None] = lambda num: None,
) -> list[StainOutcome]:
    """Normalize every store of a run into OUT/tiles, with OUT/stain.csv and OUT/run.json.

    run      a run folder, or one tile store
    workers  processes, and threads where slides are few; 0: one after the other, in this process
    A store that cannot be done costs itself only. A slide that was never tiled gets a row, too.
    """
    jobs = _jobs(run, out)
    started, start = now(), time.perf_counter()
    (out / "tiles").mkdir(parents=True, exist_ok=True)
    sweep_scratch(out / "tiles")
    sweep_scratch(out)
    at_once = min(workers, len(jobs))
    threads = max(1, workers // max(1, at_once))
    work = partial(normalize_one, reference=reference, config=config, threads=threads)
    rows = {row.slide_id: row for row in _first_rows(run, jobs)}

    def on_result(outcome: StainOutcome) -> None:
        rows[outcome.slide_id] = outcome
        write_table(out / "stain.csv", list(rows.values()))
        on_outcome(outcome)

    try:
        Batch(Task(work, fail_one, timeout_s), at_once).run(jobs, on_result, on_progress)
    finally:
        outcomes = list(rows.values())
        write_table(out / "stain.csv", outcomes)
        facts = {
            "stage": "stain",
            "config": config.model_dump(mode="json"),
            "reference": reference.model_dump(mode="json"),
            "inputs": {"run": str(run), "reference": reference.fingerprint},
            "outcomes": {DONE: 0, EMPTY: 0, FAILED: 0, **Counter(row.status for row in outcomes)},
            "num_tiles": sum(row.num_tiles for row in outcomes),
            "num_passed_through": sum(row.num_passed_through for row in outcomes),
            "seconds": round(time.perf_counter() - start, 3),
        }
        write_run_record(out / "run.json", started, facts, environment())
    return outcomes


def normalize_one(
    job: StoreJob,
    *,
    reference: StainReference,
    config: StainConfig,
    threads: int,
    report: Callable[[int], None],
) -> StainOutcome:
    """Normalize one store, as a worker process is asked for it."""
    return normalize_store(
        job.source, job.target, reference, config, threads=threads, report=report
    )


def fail_one(job: StoreJob, fault: Exception, seconds: float, error: str) -> StainOutcome:
    """The row of a store that could not be done."""
    return failed(job.source, fault, seconds, error)


def stores_of(run: Path) -> list[Path]:
    """The tile stores of a run folder, or the one store that the path is.

    Raises ArtifactError where there are none.
    """
    if run.suffix == ".zarr":
        found = [run] if run.is_dir() else []
    else:
        found = sorted(p for p in (run / "tiles").glob("*.zarr") if not p.name.startswith("."))
    if not found:
        raise ArtifactError(
            f"{run}: no tile stores. Give the folder of a run (with tiles/*.zarr) or one store"
        )
    return found


def write_table(path: Path, outcomes: Sequence[StainOutcome]) -> None:
    """Write stain.csv, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(outcome.row() for outcome in outcomes)
    write_text(path, text.getvalue())


def _jobs(run: Path, out: Path) -> list[StoreJob]:
    """What there is to do. Raises ArtifactError where it would overwrite its own input."""
    target = out.resolve() / "tiles"
    jobs = [StoreJob(path.resolve(), target / path.name) for path in stores_of(run)]
    if any(job.source == job.target for job in jobs):
        raise ArtifactError(f"{out} is the run itself: give --out another folder")
    return jobs


def _first_rows(run: Path, jobs: Sequence[StoreJob]) -> Iterator[StainOutcome]:
    """A row for every slide: pending, or empty for one that tiling gave no store."""
    waiting = [job.source.stem for job in jobs]
    tiled = [] if run.suffix == ".zarr" else read_process_list(run / "process_list.csv")
    for row in tiled:
        if row.slide_id not in waiting:
            why = f" ({row.reason})" if row.reason else ""
            reason = f"no tiles: tiling ended as {row.status}{why}"
            yield StainOutcome(slide_id=row.slide_id, status=EMPTY, reason=reason)
    for slide_id in waiting:
        yield StainOutcome(slide_id=slide_id, status=PENDING, reason="not finished")


def _samples_of(target: Path, config: StainConfig) -> list[Pixels]:
    """A sample of the pixels of each store, of 50 stores at most, evenly chosen."""
    stores = stores_of(target)
    step = -(-len(stores) // MAX_REFERENCE_STORES)
    return [sample_pixels(open_tiles(path), config) for path in stores[::step]]


def _read_image(path: Path) -> Pixels:
    """Pixels of an image file. Raises StainError for one that is damaged or a whole slide."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_IMAGE_PX:
                raise StainError(f"{path}: too large for an image. Tile it, then give the run")
            return np.asarray(image.convert("RGB"), np.uint8)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise StainError(f"{path}: not a readable image ({error})") from error
