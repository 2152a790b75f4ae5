"""The stain commands as people see them: progress, a summary, an exit code."""

from __future__ import annotations

import time
from pathlib import Path

from pathology.core.supervise import prepare_workers
from pathology.stain.config import StainConfig
from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import FAILED
from pipelines.progress import progress
from pipelines.stain import load_model, normalize_run, stores_of

PRELOAD = ("pathology.stain.normalize_store",)


def stain_run(
    run: Path,
    out: Path,
    config: StainConfig,
    model: Path | None,
    workers: int,
    timeout_s: float | None = None,
) -> int:
    """Normalize a run's stores and say how it went; the exit code is 1 where a slide failed."""
    start = time.perf_counter()
    if workers:
        prepare_workers(PRELOAD)
    reference = load_model(model)
    with progress("stain", len(stores_of(run))) as shown:
        outcomes = normalize_run(
            run,
            out,
            config,
            reference,
            workers=workers,
            timeout_s=timeout_s,
            on_outcome=lambda outcome: shown.item(_line(outcome)),
            on_progress=shown.step,
        )
    seconds = time.perf_counter() - start
    num_tiles = sum(outcome.num_tiles for outcome in outcomes)
    num_passed = sum(outcome.num_passed_through for outcome in outcomes)
    num_failed = sum(outcome.status == FAILED for outcome in outcomes)
    print(
        f"{len(outcomes)} slides normalized to {reference.source}, {num_failed} failed; "
        f"{num_tiles:,} tiles, {num_passed:,} passed through unchanged, in {seconds:.1f} s"
    )
    return 1 if num_failed else 0


def _line(outcome: StainOutcome) -> str:
    said = f" ({outcome.reason})" if outcome.reason else ""
    return f"{outcome.slide_id}: {outcome.status}, {outcome.num_tiles:,} tiles{said}"
