"""The stain stage as a program calls it: normalize whatever is given, with tables and a record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pathology.core.artifact import alone_in, sweep_scratch
from pathology.core.run_record import environment, now, write_run_record
from pathology.stain.config import StainConfig
from pathology.stain.load import load_model
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.normalizer import StainModel
from pathology.stain.outcome import StainOutcome, failed
from pathology.tiling.outcome import DONE, EMPTY, FAILED, PENDING
from pipelines.input_kinds import TileInput, look_at
from pipelines.run_stores import without_stores
from pipelines.stain_apply import Format, Job, Spread, jobs_of, run_jobs
from pipelines.stain_fit import fit_model
from pipelines.stain_recipe import Recipe
from pipelines.stain_table import StainTable

__all__ = ["apply_recipe", "fit_model", "load_model", "normalize_run"]


def apply_recipe(
    given: TileInput,
    out: Path,
    recipe: Recipe,
    wanted: Format | None = None,
    spread: Spread = Spread(),  # noqa: B008  frozen
    *,
    on_outcome: Callable[[StainOutcome], None] = lambda outcome: None,
    on_progress: Callable[[int], None] = lambda num: None,
) -> list[StainOutcome]:
    """Normalize every member of an input into OUT, with OUT/stain.csv and OUT/run.json.

    out  a folder; for one slide or picture also a file, and then there are no tables
    A member that cannot be done costs itself only, and nothing vanishes: a row of a manifest that
    cannot be used and a slide that was never tiled have their rows, too. Raises ArtifactError where
    another command normalizes into the same folder now.
    """
    jobs = jobs_of(given, out, wanted)
    started, start = now(), time.perf_counter()
    has_tables = not any(job.target == out for job in jobs)
    folders = {job.target.parent for job in jobs} | ({out} if has_tables else set())
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        sweep_scratch(folder)
    with alone_in(out) if has_tables else nullcontext():
        table = StainTable(out / "stain.csv" if has_tables else None, _first_rows(given, jobs))

        def on_result(outcome: StainOutcome) -> None:
            table.put(outcome)
            on_outcome(outcome)

        for row in list(table.rows.values()):
            if row.status != PENDING:
                on_outcome(row)
        try:
            run_jobs(jobs, recipe, spread, on_result, on_progress)
        finally:
            for folder in folders:  # of processes that were stopped
                sweep_scratch(folder)
            table.save()
            outcomes = list(table.rows.values())
            if has_tables:
                facts = _facts(given, recipe, outcomes, time.perf_counter() - start)
                write_run_record(out / "run.json", started, facts, environment())
    return outcomes


def normalize_run(
    run: Path,
    out: Path,
    config: StainConfig,
    reference: StainModel = TEXTBOOK,
    *,
    workers: int = 0,
    timeout_s: float | None = None,
    on_outcome: Callable[[StainOutcome], None] = lambda outcome: None,
    on_progress: Callable[[int], None] = lambda num: None,
) -> list[StainOutcome]:
    """Normalize a run's stores, or one store, or whatever look_at takes, in its usual format.

    workers  processes, and threads where slides are few; 0: one after the other, in this process
    """
    return apply_recipe(
        look_at(run),
        out,
        Recipe(reference, config),
        spread=Spread(workers, timeout_s),
        on_outcome=on_outcome,
        on_progress=on_progress,
    )


def _first_rows(given: TileInput, jobs: Sequence[Job]) -> Iterator[StainOutcome]:
    """A row for every member: pending, failed for a manifest's bad row, empty for no tiles."""
    waiting = [job.slide_id for job in jobs]
    for row in without_stores(given.path) if given.kind == "run" else []:
        status = FAILED if row.is_failed else EMPTY
        yield StainOutcome(slide_id=row.slide_id, status=status, reason=f"no tiles: {row.reason}")
    for fault in given.rejected if given.kind != "run" else []:
        yield failed(Path(fault.slide_id), fault, 0.0)
    for slide_id in waiting:
        yield StainOutcome(slide_id=slide_id, status=PENDING, reason="not finished")


def _facts(
    given: TileInput, recipe: Recipe, outcomes: Sequence[StainOutcome], seconds: float
) -> dict[str, Any]:
    return {
        "stage": "stain",
        "config": recipe.config.model_dump(mode="json"),
        "pyramid": recipe.pyramid.model_dump(mode="json"),
        "reference": _reference(recipe.model),
        "stain": recipe.stain,
        "inputs": {"run": str(given.path), "reference": recipe.model.fingerprint},
        "outcomes": {DONE: 0, EMPTY: 0, FAILED: 0, **Counter(row.status for row in outcomes)},
        "num_tiles": sum(row.num_tiles for row in outcomes),
        "num_passed_through": sum(row.num_passed_through for row in outcomes),
        "seconds": round(seconds, 3),
    }


def _reference(model: StainModel) -> Mapping[str, Any]:
    """What the record says of a model: a small one whole, a large one by name."""
    if isinstance(model, BaseModel):
        return model.model_dump(mode="json")
    return {"method": model.method, "source": model.source, "fingerprint": model.fingerprint}
