"""A whole slide in, a normalized pyramidal OME-TIFF out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from pathology import __version__
from pathology.core.artifact import alone_in, content_digest, fingerprint, sweep_scratch
from pathology.core.batch import Batch
from pathology.core.errors import SlideError, WrongResolution
from pathology.core.manifest import SlideRecord
from pathology.core.supervise import Task
from pathology.slides.ome_writer import OmeFacts, stored_notes
from pathology.slides.open import open_slide
from pathology.slides.reader import SlideReader
from pathology.slides.resolution import Spacing, decide_spacing
from pathology.stain.normalizer import SlideNormalizer
from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import DONE
from pipelines.band_file import BandFile, open_band
from pipelines.flat_pictures import require_colors
from pipelines.stain_bands import BandPlan, Bands, render_bands
from pipelines.stain_canvas import Canvas, whole_canvas
from pipelines.stain_pyramid import assemble
from pipelines.stain_recipe import Recipe, failure, raise_first, said_again
from pipelines.tile_samples import MPP_TOLERANCE, Sampling, sample_open_slide

SLIDE_SCHEMA = 1
SAMPLE_PX = 256
RESCALED = "written at the model's"  # how the reason begins where that was not asked for
DESCRIPTION = "Stain-normalized copy, research use only. Method: {method}; style: {source}."

Report = Callable[[int], None]


@dataclass(frozen=True)
class SlideJob:
    """One slide to read and the file to write."""

    record: SlideRecord
    target: Path

    @property
    def slide_id(self) -> str:
        """What it is called in tables."""
        return self.record.slide_id

    @property
    def source(self) -> Path:
        """The file to read."""
        return self.record.slide_path


def stain_slide(job: SlideJob, *, recipe: Recipe, report: Report) -> StainOutcome:
    """Normalize one slide, or find that it is done already by the same recipe.

    A band that an interrupted run has finished is taken as it is. Raises SlideError, or OSError
    for a full disk, and leaves nothing half-written but the bands.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)
    plan = _in_one(partial(plan_slide, recipe=recipe), job, recipe.processes)
    if isinstance(plan, StainOutcome):
        return plan
    plan.folder.mkdir(parents=True, exist_ok=True)
    with alone_in(plan.folder):
        outcome = _stain(job, plan, recipe, report)
    return replace(outcome, seconds=round(time.perf_counter() - start, 3))


def _stain(job: SlideJob, plan: BandPlan, recipe: Recipe, report: Report) -> StainOutcome:
    sweep_scratch(plan.folder)
    _render_all(plan, recipe.processes, report)
    bands = _finished_bands(plan)
    num_passed = sum(band.index.num_passed for band in bands)
    outcome = StainOutcome(
        slide_id=job.record.slide_id,
        status=DONE,
        reason=_reason(plan, num_passed),
        num_tiles=plan.num_tiles,
        num_passed_through=num_passed,
        fingerprint=plan.fingerprint,
        **plan.normalizer.measured(),
    )
    facts = _facts(job, plan, recipe, outcome)
    size = assemble(job.target, bands, plan.canvas.size, recipe.pyramid, facts)
    shutil.rmtree(plan.folder, ignore_errors=True)
    return replace(outcome, store_bytes=size)


def plan_slide(job: SlideJob, *, recipe: Recipe, report: Report) -> BandPlan | StainOutcome:
    """Everything that must be known of a slide before it is rendered; its outcome if it is done.

    Raises SlideError, also for a slide that is normalized already, and for grey and 16-bit images.
    """
    record = job.record
    require_colors(record.slide_id, record.slide_path)
    with closing(open_slide(record)) as slide:
        spacing = decide_spacing(
            record.slide_id, record.mpp, slide.facts.spacings, recipe.assume_mpp
        )
        name = slide_fingerprint(record, spacing, recipe)
        notes = stored_notes(job.target)
        if notes.get("fingerprint") == name:
            return _finished(job, notes)
        _require_raw(slide)
        normalizer = fit_slide(slide, record, spacing, recipe)
        canvas = _canvas(slide, spacing, normalizer, recipe)
    folder = job.target.with_name(f".{job.target.name}.bands")
    remark = _remark(canvas, spacing, recipe)
    return BandPlan(record, canvas, normalizer, recipe.pyramid, name, folder, remark)


def _finished(job: SlideJob, notes: dict[str, str]) -> StainOutcome:
    """The outcome of a slide that an earlier run has written, as its notes have it."""
    row = {**notes, "slide_id": job.slide_id, "status": DONE}
    return replace(
        StainOutcome.of_row(row),
        reason=said_again(notes.get("reason", "")),
        store_bytes=job.target.stat().st_size,
    )


def _remark(canvas: Canvas, spacing: Spacing, recipe: Recipe) -> str:
    """That a slide is written at another resolution than scanned, where nobody asked for it."""
    is_same = abs(canvas.mpp[0] / spacing.mpp[0] - 1) <= MPP_TOLERANCE
    if is_same or recipe.pyramid.mpp is not None:
        return ""
    return f"{RESCALED} {canvas.mpp[0]:.4g} um/px, scanned at {spacing.mpp[0]:.4g}"


def fit_slide(
    slide: SlideReader, record: SlideRecord, spacing: Spacing, recipe: Recipe
) -> SlideNormalizer:
    """The model's normalizer for a slide, from a sample of its tissue."""
    usual = recipe.model.mpp and max(recipe.model.mpp, *spacing.mpp)
    sampling = Sampling(SAMPLE_PX, recipe.config.num_sample_tiles, usual)
    sample = sample_open_slide(slide, record, spacing, sampling)
    # a window with a corner of tissue in it must not pass: its neighbor would differ at the border
    config = recipe.config.model_copy(update={"min_stained_fraction": 0.0})
    return recipe.model.for_slide(sample.tiles_NHW3, config)


def _require_raw(slide: SlideReader) -> None:
    model = slide.facts.normalized_by
    if model:
        raise SlideError(
            slide.slide_id, f"it is normalized already, by model {model}", "Give the scanned slide"
        )


def slide_fingerprint(record: SlideRecord, spacing: Spacing, recipe: Recipe) -> str:
    """Name of the file that normalizing a slide makes."""
    inputs = {
        "slide": content_digest(record.slide_path),
        "mask": content_digest(record.mask_path) if record.mask_path else "",
        "mpp": repr(spacing),
        "domain": record.domain,
        "model": recipe.stain,  # so that what notes another is written anew
        "pyramid": recipe.pyramid.model_dump_json(),
    }
    return fingerprint("stained slide", SLIDE_SCHEMA, recipe.config, inputs)


def _canvas(
    slide: SlideReader, spacing: Spacing, normalizer: SlideNormalizer, recipe: Recipe
) -> Canvas:
    """What is rendered: as scanned, at the resolution asked for, or at that of the training.

    What looks at single pixels may look at any resolution; what looks around them may not.
    """
    wanted, taught = recipe.pyramid.mpp, recipe.model.mpp
    if normalizer.margin_px and taught is not None:
        if wanted is not None and abs(wanted / taught - 1) > MPP_TOLERANCE:
            raise WrongResolution(
                slide.slide_id,
                f"{wanted:g} um/px is asked for, the model was trained at {taught:g} um/px",
                f"Leave --mpp out: the slide is then written at {taught:g} um/px",
            )
        wanted = taught
    return whole_canvas(slide, spacing.mpp, recipe.pyramid.tile_px, wanted)


def _render_all(plan: BandPlan, processes: int, report: Report) -> None:
    """Render what is missing. Raises the first fault once all processes have ended."""
    if not processes:
        render_bands(Bands(plan, tuple(range(plan.num_bands))), report=report)
        return
    shares = [Bands(plan, tuple(range(k, plan.num_bands, processes))) for k in range(processes)]
    batch = Batch(Task(render_bands, failure), processes)
    raise_first(batch.run([share for share in shares if share.numbers], on_progress=report))


def _in_one(work: Callable[..., Any], job: SlideJob, processes: int) -> Any:
    """The result of work on one job, in a process of its own so that a crash ends only that."""
    if not processes:
        return work(job, report=lambda num: None)
    results = Batch(Task(work, failure), 1).run([job])
    raise_first(results)
    return results[0]


def _finished_bands(plan: BandPlan) -> list[BandFile]:
    bands = [open_band(plan.band_path(n), plan.fingerprint) for n in range(plan.num_bands)]
    if None in bands:
        raise SlideError(
            plan.record.slide_id,
            f"band {bands.index(None)} of {len(bands)} is gone",
            "Run the same command again, and let no other run write to the same place",
        )
    return [band for band in bands if band is not None]


def _facts(job: SlideJob, plan: BandPlan, recipe: Recipe, outcome: StainOutcome) -> OmeFacts:
    model = recipe.model
    measured = {name: str(value) for name, value in plan.normalizer.measured().items()}
    notes = {
        "fingerprint": plan.fingerprint,
        "note": "research use only",
        **recipe.notes,
        "config": json.dumps(recipe.config.model_dump(mode="json")),
        "pyramid": json.dumps(recipe.pyramid.model_dump(mode="json")),
        "slide_id": job.record.slide_id,
        "slide_digest": content_digest(job.record.slide_path),
        "num_tiles": str(outcome.num_tiles),
        "num_passed_through": str(outcome.num_passed_through),
        "reason": outcome.reason,
        "version": __version__,
        **measured,
    }
    said = DESCRIPTION.format(method=model.method, source=model.source)
    return OmeFacts(job.record.slide_id, plan.canvas.mpp, said, notes)


def _reason(plan: BandPlan, num_passed: int) -> str:
    said = [plan.remark] if plan.remark else []
    if plan.normalizer.problem:
        said.append(f"all tiles stay as they are: {plan.normalizer.problem}")
    elif num_passed:
        said.append(f"{num_passed} tiles without stain stay as they are")
    return "; ".join(said)
