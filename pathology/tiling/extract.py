"""One slide to one tile store: survey, read, judge, publish; or find that it was done before."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from pathology import __version__
from pathology.core.artifact import content_digest, fingerprint, publish, sha256_of, write_text
from pathology.core.errors import ArtifactError, SlideError
from pathology.core.manifest import SlideRecord
from pathology.slides import jpeg
from pathology.slides.open import open_slide
from pathology.slides.reader import Pixels, SlideReader, read_thumbnail
from pathology.slides.resolution import Spacing, decide_spacing
from pathology.tiling.config import GivenTiles, TilingConfig, TilingJob
from pathology.tiling.judge import (
    Judged,
    Selection,
    estimate_bytes,
    judge_blocks,
    select,
    without_judging,
)
from pathology.tiling.masks import mask_digest, mask_to_geojson
from pathology.tiling.outcome import DONE, EMPTY, PLANNED, SlideOutcome, facts_of
from pathology.tiling.overlay import draw_overlay
from pathology.tiling.store import SCHEMA, TileWriter, read_attributes
from pathology.tiling.survey import Survey, survey_slide

Report = Callable[[int], None]  # told how many more tiles were read
OVERLAY_QUALITY = 88
MIN_OVERLAY_PX = 900


def tile_slide(
    record: SlideRecord,
    config: TilingConfig,
    job: TilingJob,
    report: Report = lambda num: None,
    given: GivenTiles | None = None,
) -> SlideOutcome:
    """Tile one slide, or find that it is tiled already by the same recipe.

    given  tiles to take in place of those we would find

    Raises SlideError, or OSError for a full disk, and leaves nothing half-written.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)  # the threads are ours
    if job.verify:
        _verify(record)
    with closing(open_slide(record)) as slide:
        spacing = _spacing(slide, record, job)
        inputs = _inputs(record, job, spacing, given)
        name = fingerprint("tiles", SCHEMA, config, inputs)
        finished = _finished(job.store_path(record.slide_id), name)
        if finished is not None:
            return replace(finished, **_facts_of_rerun(record), seconds=_since(start))
        survey = survey_slide(slide, record, config, spacing, given)
        outcome = replace(_outcome(record, survey, config), fingerprint=name)
        with publish(job.store_path(record.slide_id)) as scratch:
            outcome = _fill(
                scratch, slide, survey, outcome, inputs, config, job, report, start, record
            )
    return replace(outcome, seconds=_since(start))


def plan_slide(
    record: SlideRecord, config: TilingConfig, job: TilingJob, given: GivenTiles | None = None
) -> SlideOutcome:
    """What tile_slide would do: the plan, the number of tiles and an estimate of the bytes."""
    start = time.perf_counter()
    with closing(open_slide(record)) as slide:
        survey = survey_slide(slide, record, config, _spacing(slide, record, job), given)
        size = 0 if job.coords_only else estimate_bytes(slide, survey, config)
    return replace(
        _outcome(record, survey, config),
        status=PLANNED,
        num_tiles=len(survey.l0_xy),
        store_bytes=size,
        seconds=_since(start),
    )


def _fill(
    scratch: Path,
    slide: SlideReader,
    survey: Survey,
    outcome: SlideOutcome,
    inputs: dict[str, str],
    config: TilingConfig,
    job: TilingJob,
    report: Report,
    start: float,
    record: SlideRecord,
) -> SlideOutcome:
    """Read, judge and write everything of one slide below scratch."""
    writer = TileWriter(scratch, survey.plan.size_px, config.store)
    if job.coords_only:
        selection = without_judging(survey)
        report(len(selection.kept))
    else:
        blocks: list[Judged] = []
        for block in judge_blocks(slide, survey, config, job.threads):
            writer.add(block.encoded)
            blocks.append(block._replace(encoded=[]))
            report(len(block.l0_xy))
        selection = select(blocks)
    writer.flush()
    counts: dict[str, Any] = selection.counts
    outcome = replace(
        outcome,
        **counts,
        status=DONE if len(selection.kept) else EMPTY,
        reason="" if len(selection.kept) else _why_empty(survey, selection),
        num_tiles=len(selection.kept),
        store_bytes=writer.num_bytes,
        seconds=_since(start),
    )
    _write_pictures(slide, survey, outcome, selection, job, record.mask_path)
    attributes: dict[str, Any] = {
        "slide_id": outcome.slide_id,
        "fingerprint": outcome.fingerprint,
        "config_fingerprint": fingerprint("tiling config", SCHEMA, config, {}),
        "inputs": inputs,
        "config": _config_of(survey, config, is_given="given" in inputs),
        "coords_only": job.coords_only,
        "slide": survey.slide_facts(),
        "plan": survey.plan_facts(),
        "outcome": outcome.row(),
        "version": __version__,
        "note": "research use only",
    }
    if slide.facts.normalized_by:
        attributes["stain"] = {"fingerprint": slide.facts.normalized_by}
    columns: dict[str, NDArray[Any]] = {
        "l0_xy": selection.kept,
        "tissue_fraction": survey.fractions_at(selection.kept),
        **selection.scores,
    }
    writer.finish(columns, attributes, has_pixels=not job.coords_only)
    return outcome


def _write_pictures(
    slide: SlideReader,
    survey: Survey,
    outcome: SlideOutcome,
    selection: Selection,
    job: TilingJob,
    given_mask: Path | None,
) -> None:
    """The overlay and the mask, before the store: where there is a store, these are there."""
    overlay = draw_overlay(
        _large_thumbnail(slide, survey),
        survey.mask,
        survey.l0_slide,
        survey.plan.l0_size,
        selection.kept,
        selection.rejected,
        f"{outcome.slide_id}: {outcome.num_tiles} tiles",
    )
    with publish(job.overlay_path(outcome.slide_id)) as scratch:
        scratch.write_bytes(jpeg.encode(overlay, OVERLAY_QUALITY, "444"))
    path = job.mask_path(outcome.slide_id)
    if given_mask is None or given_mask.resolve() != path.resolve():  # an outline edited by hand
        mask = mask_to_geojson(survey.mask, survey.l0_slide, survey.l0_offset)
        write_text(path, json.dumps(mask))


def _large_thumbnail(slide: SlideReader, survey: Survey) -> Pixels:
    """The survey's thumbnail, or a finer one where it would be a poor picture of a small slide."""
    if max(survey.thumbnail.shape) >= MIN_OVERLAY_PX:
        return survey.thumbnail
    mpp = survey.spacing.mpp
    edge_um = max(size * each for size, each in zip(survey.l0_slide, mpp, strict=True))
    return read_thumbnail(slide, mpp, max(edge_um / MIN_OVERLAY_PX, *mpp))


def _outcome(record: SlideRecord, survey: Survey, config: TilingConfig) -> SlideOutcome:
    said = {
        **facts_of(record),
        "mpp": round(survey.spacing.mpp[0], 6),
        "mpp_source": survey.spacing.source,
    }
    return SlideOutcome(
        **said,
        status=DONE,
        target_mpp=config.tile.mpp,
        achieved_mpp=round(survey.plan.achieved_mpp[0], 4),
        plan=survey.plan.sentence(),
        slide_width=survey.l0_slide[0],
        slide_height=survey.l0_slide[1],
        tissue_area_mm2=round(survey.tissue_area_mm2, 3),
        num_grid=survey.num_grid,
        num_tissue=len(survey.l0_xy),
        slide_bytes=_size_of(record.slide_path),
    )


def _config_of(survey: Survey, config: TilingConfig, *, is_given: bool) -> dict[str, Any]:
    """The settings; of tiles that were given, with the size and resolution that these have."""
    said = config.model_dump(mode="json")
    if is_given:
        mpp = round(survey.plan.achieved_mpp[0], 6)
        said["tile"] |= {"size_px": survey.plan.size_px, "mpp": mpp, "stride_px": None}
    return said


def _why_empty(survey: Survey, selection: Selection) -> str:
    if not survey.num_grid:
        width, height = survey.plan.l0_size
        return f"the slide is smaller than one tile ({width}x{height} level-0 px)"
    if not len(survey.l0_xy):
        return (
            f"none of {survey.num_grid} tiles holds enough tissue: look at the overlay, try "
            "tissue.method=hsv or none, or give a mask_path"
        )
    found = ", ".join(f"{count} {name[4:]}" for name, count in selection.counts.items() if count)
    return f"all {len(survey.l0_xy)} tissue tiles failed the quality check ({found})"


def _facts_of_rerun(record: SlideRecord) -> dict[str, Any]:
    """What a finished slide's row takes from today's manifest."""
    facts = facts_of(record)
    return {name: facts[name] for name in ("case_id", "label", "centre", "slide_path")}


def _finished(path: Path, name: str) -> SlideOutcome | None:
    """The outcome that a complete store of the same recipe recorded, or None."""
    try:
        attributes = read_attributes(path)
    except ArtifactError:
        return None
    if attributes.get("fingerprint") != name or "outcome" not in attributes:
        return None
    outcome = SlideOutcome.of_row(attributes["outcome"])
    return replace(outcome, reason=outcome.reason or "already complete")


def _spacing(slide: SlideReader, record: SlideRecord, job: TilingJob) -> Spacing:
    return decide_spacing(record.slide_id, record.mpp, slide.facts.spacings, job.assume_mpp)


def _inputs(
    record: SlideRecord, job: TilingJob, spacing: Spacing, given: GivenTiles | None
) -> dict[str, str]:
    """Digests of all that shapes a store beside the settings, by role."""
    mask = record.mask_path
    inputs = {
        "slide": content_digest(record.slide_path),
        "mask": "" if mask is None else mask_digest(mask, record.slide_id),
        "mpp": repr(spacing),
        "domain": record.domain,
        "coords_only": repr(job.coords_only),
    }
    if given is not None:
        digest = hashlib.sha256(given.l0_xy.tobytes()).hexdigest()
        inputs["given"] = f"{digest} {given.l0_tile_size} {given.size_px}"
    return inputs


def _verify(record: SlideRecord) -> None:
    if record.sha256 and record.slide_path.is_file():
        found = sha256_of(record.slide_path)
        if found != record.sha256:
            raise SlideError(
                record.slide_id,
                f"its SHA-256 is {found[:12]}..., the manifest says {record.sha256[:12]}...",
                "Copy the slide again, or correct the manifest",
            )


def _size_of(path: Path) -> int:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)
