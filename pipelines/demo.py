"""The demo: a simulated cohort with planted faults, tiled, normalized and reported."""

from __future__ import annotations

import time
from pathlib import Path

from pathology.core.manifest import read_manifest
from pathology.core.run_record import num_cores
from pathology.core.supervise import prepare_workers
from pathology.simulate.cohort import simulate_cohort
from pathology.simulate.faults import FAULTS
from pathology.stain.config import StainConfig
from pathology.tiling.config import TilingConfig
from pathology.tiling.outcome import FAILED
from pipelines import restain, tile_work
from pipelines.report import write_report
from pipelines.restain import stain_run
from pipelines.tables import read_process_list
from pipelines.tile import TileOptions, tile_manifest

FATAL = ("no_mpp", "truncated")  # planted faults that must cost their slide


def run_demo(out: Path, num_slides: int, seed: int, workers: int | None = None) -> int:
    """Simulate slides below out/cohort and run everything on them into out/run.

    Exit code 0 where every sound slide was tiled and every broken one was refused.
    """
    start = time.perf_counter()
    prepare_workers([*tile_work.PRELOAD, *restain.PRELOAD])  # one server for both stages
    manifest = out / "cohort" / "manifest.csv"
    if not manifest.exists():
        print(f"Simulating {num_slides} slides and {len(FAULTS)} with planted faults ...")
        simulate_cohort(
            out / "cohort",
            num_slides=num_slides,
            seed=seed,
            faults=FAULTS,
            workers=workers or num_cores(),
        )
    run, stained = out / "run", out / "run" / "stain"
    tile_manifest(TileOptions(manifest=manifest, out=run, workers=workers), TilingConfig())
    cores = num_cores() if workers is None else workers
    stain_run(run, stained, StainConfig(), None, cores)
    page = write_report(run, stain_run=stained)
    rows = read_process_list(run / "process_list.csv")
    broken = {
        slide.slide_id
        for slide in read_manifest(manifest).slides
        if slide.extra.get("simulated_fault") in FATAL
    }
    wrong = [row.slide_id for row in rows if (row.status == FAILED) != (row.slide_id in broken)]
    if wrong:
        print(f"Not as planted: {', '.join(wrong)}")
    print(f"Simulated slides, not patients. Done in {time.perf_counter() - start:.0f} s.")
    print(f"Report: {page.resolve()}")
    return 1 if wrong else 0
