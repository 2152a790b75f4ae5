"""The demo: a simulated cohort with planted faults, and a whole run on it."""

from __future__ import annotations

import time
from pathlib import Path

from pathology.core.artifact import write_text
from pathology.core.config import load_config
from pathology.core.manifest import read_manifest
from pathology.core.run_record import num_cores
from pathology.core.supervise import prepare_workers
from pathology.core.table import csv_text, read_csv
from pathology.simulate.cohort import simulate_cohort
from pathology.simulate.faults import FAULTS
from pathology.simulate.microscope import MicroscopeConfig
from pathology.tiling.outcome import FAILED
from pipelines import restain, tile_work
from pipelines.run import Choice, RunConfig, RunOptions, run_config
from pipelines.tables import read_process_list

FATAL = ("no_mpp", "truncated")  # planted faults that must cost their slide
FRAMES_PER_SLIDE = 4
FRAME = MicroscopeConfig(size_px=(640, 480))
SETTINGS = """\
# The demo as a run: `pathology run {name}` does it again, and only what changed.
manifest: cohort/slides.csv       # simulated slides, four of them broken on purpose
out: run
stain:                            # the default is none; the demo is to show it
  method: macenko
microscope:
  images: cohort/frames.csv       # simulated frames of a camera on a microscope
  compare: [source]               # a frame's label is its worst grade: no labels for its tiles
adapt:
  tiles_per_slide: 32             # half of the default: the demo is to be quick
"""


def run_demo(out: Path, num_slides: int, seed: int, workers: int | None = None) -> int:
    """Simulate slides and camera frames below out/cohort and run everything on them into out/run.

    Exit code 0 where every sound slide was tiled and every broken one was refused.
    """
    start = time.perf_counter()
    prepare_workers([*tile_work.PRELOAD, *restain.PRELOAD])  # one server for all stages
    cohort, settings = out / "cohort", out / "run.yaml"
    if not (cohort / "frames.csv").exists():
        print(f"Simulating {num_slides} slides and {len(FAULTS)} with planted faults ...")
        manifest = simulate_cohort(
            cohort,
            num_slides=num_slides,
            seed=seed,
            frames_per_slide=FRAMES_PER_SLIDE,
            faults=FAULTS,
            microscope_config=FRAME,
            workers=workers or num_cores(),
        )
        for domain, name in (("wsi", "slides"), ("microscope", "frames")):
            write_text(cohort / f"{name}.csv", _of_domain(manifest, domain))
    write_text(settings, SETTINGS.format(name=settings))
    config = load_config(RunConfig, settings)
    run_config(config, out.resolve(), RunOptions(workers=workers, device="cpu"), Choice())
    rows = read_process_list(out / "run" / "process_list.csv")
    broken = {
        slide.slide_id
        for slide in read_manifest(cohort / "slides.csv").slides
        if slide.extra.get("simulated_fault") in FATAL
    }
    wrong = [row.slide_id for row in rows if (row.status == FAILED) != (row.slide_id in broken)]
    if wrong:
        print(f"Not as planted: {', '.join(wrong)}")
    print(f"Simulated slides, not patients. Done in {time.perf_counter() - start:.0f} s.")
    return 1 if wrong else 0


def _of_domain(manifest: Path, domain: str) -> str:
    """The rows of a manifest that are of one domain, as CSV."""
    names, rows = read_csv(manifest)
    return csv_text([names, *([row[n] for n in names] for row in rows if row["domain"] == domain)])
