"""What `stain apply` does with each kind of input and output: the jobs, and how they are spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from pathology.core.batch import Batch
from pathology.core.errors import ArtifactError
from pathology.core.output_place import require_file_place, require_folder_place
from pathology.core.supervise import Task, attempt
from pathology.core.table import SLIDE_SUFFIXES
from pathology.stain.normalize_store import normalize_store
from pathology.stain.outcome import StainOutcome, failed
from pipelines.flat_pictures import SUFFIXES
from pipelines.input_kinds import TileInput
from pipelines.stain_recipe import Failure, Recipe, failure
from pipelines.stain_slide import SlideJob, stain_slide
from pipelines.stain_tiles import (
    PictureJob,
    StoreTilesJob,
    fail_picture,
    stain_pictures,
    stain_store_tiles,
)

Format = Literal["store", "ome-tiff", "tiles"]
USUAL: dict[str, Format] = {
    "run": "store", "store": "store", "manifest": "ome-tiff", "slide": "ome-tiff",
    "images": "tiles",
}  # fmt: skip
TIFF_NAMES = (".tif", ".tiff")
FILE_NAMES = (*SUFFIXES, *SLIDE_SUFFIXES)  # what nobody calls a folder
GROUP = 64  # pictures that one process does, since starting it takes as long as some of them


@dataclass(frozen=True)
class StoreJob:
    """One store to read and the place of the one to write."""

    source: Path
    target: Path

    @property
    def slide_id(self) -> str:
        """What it is called in tables."""
        return self.source.stem


Job = StoreJob | SlideJob | PictureJob | StoreTilesJob
OnResult = Callable[[StainOutcome], None]
OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Spread:
    """How work is spread: processes in all (0: none but this one), and seconds a member may take.

    scheduler  address of a dask.distributed scheduler whose workers do it instead
    """

    workers: int = 0
    timeout_s: float | None = None
    scheduler: str | None = None


def jobs_of(given: TileInput, out: Path, wanted: Format | None = None) -> list[Job]:
    """What there is to do for an input. Raises ArtifactError where that makes no sense.

    wanted  the format of what comes out; None: stores of stores, OME-TIFF of slides, PNG files of
            pictures
    """
    kind = wanted or USUAL[given.kind]
    _require_sense(given, kind)
    jobs = _of_stores(given, out, kind) if given.stores else _of_slides(given, out, kind)
    if out.suffix.lower() in FILE_NAMES and not out.is_dir():
        _require_file(jobs, out, kind)
    if any(job.target == out for job in jobs):
        require_file_place(out)
    else:
        require_folder_place(out)
    own = [job for job in jobs if job.target.resolve() == job.source.resolve()]
    is_inside = given.kind in ("manifest", "images") and given.path.is_dir()
    if own or (is_inside and out.resolve().is_relative_to(given.path.resolve())):
        what = "the run itself" if given.stores else "the input itself, or inside of it"
        raise ArtifactError(f"{out} is {what}: give --out another folder")
    return jobs


def run_jobs(
    jobs: Sequence[Job],
    recipe: Recipe,
    spread: Spread,
    on_result: OnResult = lambda outcome: None,
    on_progress: OnProgress = lambda num: None,
) -> None:
    """Do all jobs, which are of one kind; each ends as an outcome, whatever happens to it."""
    slides = [job for job in jobs if isinstance(job, SlideJob)]
    pictures = [job for job in jobs if isinstance(job, PictureJob)]
    stores = [job for job in jobs if isinstance(job, StoreJob | StoreTilesJob)]
    if slides:
        _run_slides(slides, recipe, spread, on_result, on_progress)
    if pictures:
        _run_pictures(pictures, recipe, spread, on_result, on_progress)
    if stores:
        at_once = min(spread.workers, len(stores))
        shared = replace(recipe, threads=max(1, spread.workers // max(1, at_once)))
        task = Task(partial(_stain_store, recipe=shared), _fail_store, spread.timeout_s)
        Batch(task, at_once, spread.scheduler).run(stores, on_result, on_progress)


def _stain_store(
    job: StoreJob | StoreTilesJob, *, recipe: Recipe, report: OnProgress
) -> StainOutcome:
    if isinstance(job, StoreTilesJob):
        return stain_store_tiles(job, recipe=recipe, report=report)
    model, config, threads = recipe.model, recipe.config, recipe.threads
    return normalize_store(job.source, job.target, model, config, threads=threads, report=report)


def _run_slides(
    jobs: Sequence[SlideJob],
    recipe: Recipe,
    spread: Spread,
    on_result: OnResult,
    on_progress: OnProgress,
) -> None:
    """Many slides side by side, a process each; few one after the other, all processes on each."""
    if spread.scheduler or len(jobs) >= spread.workers:
        task = Task(partial(stain_slide, recipe=recipe), _fail_slide, spread.timeout_s)
        Batch(task, spread.workers, spread.scheduler).run(jobs, on_result, on_progress)
        return
    shared = replace(recipe, processes=spread.workers)
    task = Task(partial(stain_slide, recipe=shared), _fail_slide, spread.timeout_s)
    for job in jobs:
        on_result(attempt(task, job, on_progress))


def _run_pictures(
    jobs: Sequence[PictureJob],
    recipe: Recipe,
    spread: Spread,
    on_result: OnResult,
    on_progress: OnProgress,
) -> None:
    """Pictures in groups, a process each; what a dying process leaves is done one by one."""
    size = max(1, min(GROUP, len(jobs) // max(1, spread.workers)))
    work = partial(stain_pictures, recipe=recipe)

    def run(groups: Sequence[Sequence[PictureJob]], edge: int) -> list[Sequence[PictureJob]]:
        limit = spread.timeout_s and spread.timeout_s * edge
        died: list[Sequence[PictureJob]] = []

        def on_group(results: list[StainOutcome] | _Died) -> None:
            if isinstance(results, _Died):
                died.append(results.jobs)
                if len(results.jobs) == 1:
                    lost = results.failure
                    on_result(fail_picture(results.jobs[0], lost.fault, 0.0, lost.error))
                return
            for outcome in results:
                on_result(outcome)

        task: Task[Sequence[PictureJob], list[StainOutcome] | _Died]
        task = Task(work, _Died.of, limit)
        Batch(task, spread.workers, spread.scheduler).run(groups, on_group, on_progress)
        return died

    died = run([jobs[first : first + size] for first in range(0, len(jobs), size)], size)
    singles = [[job] for group in died if len(group) > 1 for job in group]
    if singles:
        run(singles, 1)


@dataclass(frozen=True)
class _Died:
    """A group of pictures whose process ended before its time."""

    jobs: Sequence[PictureJob]
    failure: Failure

    @classmethod
    def of(cls, jobs: Sequence[PictureJob], fault: Exception, seconds: float, error: str) -> _Died:
        return cls(jobs, failure(jobs, fault, seconds, error))


def _fail_store(
    job: StoreJob | StoreTilesJob, fault: Exception, seconds: float, error: str
) -> StainOutcome:
    return failed(job.source, fault, seconds, error)


def _fail_slide(job: SlideJob, fault: Exception, seconds: float, error: str) -> StainOutcome:
    row = failed(job.record.slide_path, fault, seconds, error)
    return replace(row, slide_id=job.record.slide_id)


def _require_sense(given: TileInput, kind: Format) -> None:
    if kind == "store" and not given.stores:
        raise ArtifactError(
            f"{given.path}: --format store needs tiles. Tile first: `pathology tile {given.path} "
            "--out RUN`, then `pathology stain apply RUN`"
        )
    if kind == "ome-tiff" and given.stores:
        raise ArtifactError(
            f"{given.path} holds tiles, of which no whole slide can be made. Give the slides for "
            "--format ome-tiff, or take --format store"
        )
    if kind == "tiles" and given.kind in ("manifest", "slide"):
        raise ArtifactError(
            f"{given.path}: --format tiles needs pictures or tiles, not whole slides. Take "
            "--format ome-tiff, or tile first and give the run"
        )


def _require_file(jobs: Sequence[Job], out: Path, kind: Format) -> None:
    """Raise ArtifactError where --out is named as a file and would become a folder."""
    if any(job.target == out for job in jobs):
        return
    name = {"tiles": ".png", "ome-tiff": ".ome.tiff"}.get(kind)
    or_file = f", or for a single one a name that ends in {name}" if name else ""
    raise ArtifactError(f"--out {out}: would be a folder of that name. Give a folder{or_file}")


def _of_stores(given: TileInput, out: Path, kind: Format) -> list[Job]:
    if kind == "tiles":
        return [StoreTilesJob(path.resolve(), out.resolve() / path.stem) for path in given.stores]
    target = out.resolve() / "tiles"
    return [StoreJob(path.resolve(), target / path.name) for path in given.stores]


def _of_slides(given: TileInput, out: Path, kind: Format) -> list[Job]:
    is_one = given.path.is_file() and len(given.slides) == 1
    if kind == "tiles":
        if is_one and out.suffix.lower() == ".png":
            return [PictureJob(given.slides[0], out)]
        pairs = zip(given.slides, given.names, strict=True)
        return [PictureJob(record, out / name) for record, name in pairs]
    if is_one and out.suffix.lower() in TIFF_NAMES:
        return [SlideJob(given.slides[0], out)]
    return [SlideJob(record, out / f"{record.slide_id}.ome.tiff") for record in given.slides]
