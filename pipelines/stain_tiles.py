"""Pictures in, PNG files out: flat pictures one for one, tile stores as a folder of tiles."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pathology.core.artifact import content_digest, fingerprint
from pathology.core.errors import SlideError, WrongResolution
from pathology.core.manifest import SlideRecord
from pathology.core.supervise import Task, attempt
from pathology.slides.jpeg import DamagedJpeg
from pathology.stain.matrix import Pixels
from pathology.stain.normalize_store import require_usable
from pathology.stain.normalizer import SlideNormalizer
from pathology.stain.outcome import StainOutcome, failed
from pathology.stain.tile_renderer import TileRenderer
from pathology.tiling.outcome import DONE, EMPTY
from pathology.tiling.store import TileStore, open_tiles
from pipelines.flat_pictures import Picture, evenly, read_picture, squares_of
from pipelines.png_file import read_notes, write_png
from pipelines.stain_recipe import Recipe, said_again
from pipelines.stain_windows import Box, render_inner
from pipelines.tile_samples import MPP_TOLERANCE

PICTURE_SCHEMA = 2
SAMPLE_PX = 256
WHOLE_PX, WHOLE_NETWORK_PX = 1 << 22, 1 << 20  # rendered at once: by color alone, by a network

Report = Callable[[int], None]


@dataclass(frozen=True)
class PictureJob:
    """One flat picture to read and the PNG file to write."""

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


@dataclass(frozen=True)
class StoreTilesJob:
    """One tile store to read and the folder of PNG files to write."""

    source: Path
    target: Path

    @property
    def slide_id(self) -> str:
        """What it is called in tables."""
        return self.source.stem


def stain_pictures(
    jobs: Sequence[PictureJob], *, recipe: Recipe, report: Report
) -> list[StainOutcome]:
    """Normalize some pictures, one after the other; one that cannot be done costs itself."""

    def one(job: PictureJob, *, report: Report) -> StainOutcome:
        return stain_picture(job, recipe=recipe, report=report)

    return [attempt(Task(one, fail_picture), job, report) for job in jobs]


def stain_picture(job: PictureJob, *, recipe: Recipe, report: Report) -> StainOutcome:
    """Normalize one picture, or find that it is done already. Raises SlideError."""
    start = time.perf_counter()
    cv2.setNumThreads(1)
    record = job.record
    inputs = {"model": recipe.model.fingerprint}
    if record.slide_path.is_file():
        inputs["picture"] = content_digest(record.slide_path)
    name = fingerprint("stained picture", PICTURE_SCHEMA, recipe.config, inputs)
    done = StainOutcome(slide_id=record.slide_id, status=DONE, num_tiles=1, fingerprint=name)
    before = _rendered_before(job.target, name)
    if before is not None:
        report(1)
        reason = said_again(before.pop("reason", ""))
        return replace(done, reason=reason, store_bytes=job.target.stat().st_size, **before)
    picture = _raw_picture(record)
    squares = squares_of(picture.pixels, SAMPLE_PX)
    sample = squares[evenly(len(squares), recipe.config.num_sample_tiles)]
    normalizer = recipe.model.for_slide(sample, recipe.config)
    if not _is_small(normalizer, picture.pixels):  # no window passes that its neighbor would show
        whole = recipe.config.model_copy(update={"min_stained_fraction": 0.0})
        normalizer = recipe.model.for_slide(sample, whole)
    mpp = record.mpp or picture.mpp or recipe.assume_mpp
    _require_mpp(record.slide_id, mpp, normalizer, recipe)
    rendered, is_passed = render_picture(normalizer, picture.pixels)
    reason = f"stays as it is: {normalizer.problem}" if normalizer.problem else ""
    said = {"reason": reason, "num_passed_through": int(is_passed), **normalizer.measured()}
    size = write_png(job.target, rendered, _notes(name, recipe, said), mpp)
    report(1)
    seconds = round(time.perf_counter() - start, 3)
    return replace(done, store_bytes=size, seconds=seconds, **said)


def stain_store_tiles(job: StoreTilesJob, *, recipe: Recipe, report: Report) -> StainOutcome:
    """Normalize a store's tiles into PNG files named by their corners. Raises SlideError.

    A file that an earlier run made by the same recipe is kept, and counted with the others.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)
    store = open_tiles(job.source)
    slide_id = job.source.stem
    inputs = {"tiles": str(store.attributes["fingerprint"]), "model": recipe.model.fingerprint}
    name = fingerprint("stained picture", PICTURE_SCHEMA, recipe.config, inputs)
    paths = [job.target / f"{x}_{y}.png" for x, y in store.l0_xy.tolist()]
    before = [_rendered_before(path, name) for path in paths]
    missing = {row: path for row, path in enumerate(paths) if before[row] is None}
    kept = [said for said in before if said is not None]
    report(len(kept))
    made = []
    try:
        require_usable(slide_id, store, recipe.model)
        if missing:
            made = _render_missing(store, missing, name, recipe, report)
    except (DamagedJpeg, KeyError) as error:
        raise SlideError(slide_id, f"its store is damaged ({error})", "Tile it again") from error
    said = [*made, *kept]
    facts: dict[str, Any] = said[0] if said else {"reason": ""}
    num_passed = sum(one["num_passed_through"] for one in said)
    outcome = StainOutcome(
        slide_id=slide_id,
        status=DONE if len(store) else EMPTY,
        num_tiles=len(store),
        store_bytes=sum(path.stat().st_size for path in paths),
        fingerprint=name,
        seconds=round(time.perf_counter() - start, 3) if missing else 0.0,
    )
    reason = _reason(len(store), len(made), num_passed, facts["reason"])
    return replace(outcome, **{**facts, "reason": reason, "num_passed_through": num_passed})


def _render_missing(
    store: TileStore, missing: dict[int, Path], name: str, recipe: Recipe, report: Report
) -> list[dict[str, Any]]:
    """Write the PNG files of some of a store's rows; returns what each says of itself."""
    sample = store.read(evenly(len(store), recipe.config.num_sample_tiles))
    normalizer = recipe.model.for_slide(sample, recipe.config)
    renderer = TileRenderer(store, normalizer)
    facts = {"reason": normalizer.problem, **normalizer.measured()}

    def restain(rows: Sequence[int]) -> list[dict[str, Any]]:
        tiles, is_passed = renderer.render(rows)
        said = [{"num_passed_through": int(passed), **facts} for passed in is_passed]
        for row, tile, one in zip(rows, tiles, said, strict=True):
            write_png(missing[row], tile, _notes(name, recipe, one))
            report(1)
        return said

    rows, step = list(missing), renderer.rows_at_once
    parts = [rows[first : first + step] for first in range(0, len(rows), step)]
    with ThreadPoolExecutor(max(1, recipe.threads)) as pool:
        return [one for said in pool.map(restain, parts) for one in said]


def fail_picture(job: PictureJob, fault: Exception, seconds: float, error: str) -> StainOutcome:
    """The row of a picture that could not be done."""
    row = failed(job.record.slide_path, fault, seconds, error)
    return replace(row, slide_id=job.record.slide_id)


def render_picture(normalizer: SlideNormalizer, pixels: Pixels) -> tuple[Pixels, bool]:
    """A picture (H, W, 3) in the model's style, and whether all of it passed through.

    A small one is rendered at once, a large one in windows that see their surroundings.
    """
    height, width = pixels.shape[:2]
    if _is_small(normalizer, pixels):
        tiles, is_passed = normalizer.render(np.ascontiguousarray(pixels)[np.newaxis])
        return tiles[0], bool(is_passed[0])
    rendered, num_passed = render_inner(normalizer, pixels, Box(0, 0, width, height), SAMPLE_PX)
    return rendered, num_passed == -(-width // SAMPLE_PX) * -(-height // SAMPLE_PX)


def _is_small(normalizer: SlideNormalizer, pixels: Pixels) -> bool:
    height, width = pixels.shape[:2]
    return bool(height * width <= (WHOLE_NETWORK_PX if normalizer.margin_px else WHOLE_PX))


def _notes(name: str, recipe: Recipe, said: dict[str, Any]) -> dict[str, str]:
    """What a PNG file keeps of how it was made, and what is to be said of it in tables."""
    return {"fingerprint": name, **recipe.notes, "outcome": json.dumps(said)}


def _rendered_before(path: Path, name: str) -> dict[str, Any] | None:
    """What is to be said of a PNG file of that name; None where it must be made."""
    notes = read_notes(path)
    if notes.get("fingerprint") != name:
        return None
    said: dict[str, Any] = json.loads(notes["outcome"])
    return said


def _raw_picture(record: SlideRecord) -> Picture:
    picture = read_picture(record.slide_id, record.slide_path)
    if picture.normalized_by:
        raise SlideError(
            record.slide_id,
            f"it is normalized already, by model {picture.normalized_by}",
            "Give the picture as it was taken",
        )
    return picture


def _require_mpp(
    slide_id: str, mpp: float | None, normalizer: SlideNormalizer, recipe: Recipe
) -> None:
    taught = recipe.model.mpp
    if not normalizer.margin_px or taught is None or mpp is None:
        return
    if abs(mpp / taught - 1) > MPP_TOLERANCE:
        raise WrongResolution(
            slide_id,
            f"it has {mpp:.4g} um/px, the model was trained at {taught:g} um/px",
            f"Scale the picture to {taught:g} um/px",
        )


def _reason(num: int, num_made: int, num_passed: int, problem: str) -> str:
    if not num:
        return "the store holds no tiles"
    said = f"{num_passed} tiles without stain stay as they are" if num_passed else ""
    if problem:
        said = f"all tiles stay as they are: {problem}"
    return said if num_made else said_again(said)
