"""Pictures in, PNG files out: flat pictures one for one, tile stores as a folder of tiles."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from pathology.core.artifact import content_digest, fingerprint, publish
from pathology.core.errors import SlideError, WrongResolution
from pathology.core.manifest import SlideRecord
from pathology.core.supervise import Task, attempt
from pathology.slides.jpeg import DamagedJpeg
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import SlideNormalizer
from pathology.stain.outcome import StainOutcome, failed
from pathology.tiling.outcome import DONE, EMPTY
from pathology.tiling.store import open_tiles
from pipelines.flat_pictures import evenly, read_picture, squares_of
from pipelines.stain_recipe import Recipe
from pipelines.stain_windows import Box, render_inner
from pipelines.tile_samples import MPP_TOLERANCE

PICTURE_SCHEMA = 1
SAMPLE_PX = 256
WHOLE_PX, WHOLE_NETWORK_PX = 1 << 22, 1 << 20  # rendered at once: by color alone, by a network
COMPRESSION = 3  # of PNG: twice as fast as the usual 6, a few per cent larger
KEY = "pathology:fingerprint"

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
    if stored_in_png(job.target) == name:
        report(1)
        return replace(done, reason="already complete", store_bytes=job.target.stat().st_size)
    picture = read_picture(record.slide_id, record.slide_path)
    squares = squares_of(picture.pixels, SAMPLE_PX)
    sample = squares[evenly(len(squares), recipe.config.num_sample_tiles)]
    normalizer = recipe.model.for_slide(sample, recipe.config)
    if not _is_small(normalizer, picture.pixels):  # no window passes that its neighbor would show
        whole = recipe.config.model_copy(update={"min_stained_fraction": 0.0})
        normalizer = recipe.model.for_slide(sample, whole)
    _require_mpp(record, record.mpp or picture.mpp, normalizer, recipe)
    rendered, is_passed = render_picture(normalizer, picture.pixels)
    size = write_png(job.target, rendered, name)
    report(1)
    return replace(
        done,
        reason=f"stays as it is: {normalizer.problem}" if normalizer.problem else "",
        num_passed_through=int(is_passed),
        store_bytes=size,
        seconds=round(time.perf_counter() - start, 3),
        **normalizer.measured(),
    )


def stain_store_tiles(job: StoreTilesJob, *, recipe: Recipe, report: Report) -> StainOutcome:
    """Normalize a store's tiles into PNG files named by their corners. Raises SlideError.

    A file that an earlier run made by the same recipe is kept.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)
    store = open_tiles(job.source)
    slide_id = job.source.stem
    inputs = {"tiles": str(store.attributes["fingerprint"]), "model": recipe.model.fingerprint}
    name = fingerprint("stained picture", PICTURE_SCHEMA, recipe.config, inputs)
    paths = [job.target / f"{x}_{y}.png" for x, y in store.l0_xy.tolist()]
    missing = [row for row, path in enumerate(paths) if stored_in_png(path) != name]
    report(len(paths) - len(missing))
    try:
        sample = store.read(evenly(len(store) if missing else 0, recipe.config.num_sample_tiles))
        normalizer = recipe.model.for_slide(sample, recipe.config)

        def restain(row: int) -> bool:
            tiles, is_passed = normalizer.render(store.read([row]))
            write_png(paths[row], tiles[0], name)
            report(1)
            return bool(is_passed[0])

        with ThreadPoolExecutor(max(1, recipe.threads)) as pool:
            num_passed = sum(pool.map(restain, missing))
    except (DamagedJpeg, KeyError) as error:
        raise SlideError(slide_id, f"its store is damaged ({error})", "Tile it again") from error
    return StainOutcome(
        slide_id=slide_id,
        status=DONE if len(store) else EMPTY,
        reason=_reason(len(paths), len(missing), num_passed, normalizer),
        num_tiles=len(store),
        num_passed_through=num_passed,
        store_bytes=sum(path.stat().st_size for path in paths),
        fingerprint=name,
        seconds=round(time.perf_counter() - start, 3),
        **(normalizer.measured() if missing else {}),
    )


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


def write_png(path: Path, pixels: Pixels, name: str) -> int:
    """Write a picture with its fingerprint, whole or not at all; returns its bytes."""
    said = PngImagePlugin.PngInfo()
    said.add_text(KEY, name)
    said.add_text("Comment", "research use only")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=COMPRESSION, pnginfo=said)
    with publish(path) as scratch:
        return scratch.write_bytes(stream.getvalue())


def stored_in_png(path: Path) -> str | None:
    """The fingerprint that a PNG file written here carries; None where there is no such file."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            found = image.info.get(KEY)
    except (OSError, ValueError, SyntaxError):
        return None
    return found if isinstance(found, str) else None


def _require_mpp(
    record: SlideRecord, mpp: float | None, normalizer: SlideNormalizer, recipe: Recipe
) -> None:
    taught = recipe.model.mpp
    if not normalizer.margin_px or taught is None or mpp is None:
        return
    if abs(mpp / taught - 1) > MPP_TOLERANCE:
        raise WrongResolution(
            record.slide_id,
            f"it has {mpp:.4g} um/px, the model was trained at {taught:g} um/px",
            "Scale the picture, or take --quality student or lut",
        )


def _reason(num: int, num_missing: int, num_passed: int, normalizer: SlideNormalizer) -> str:
    if not num:
        return "the store holds no tiles"
    if not num_missing:
        return "already complete"
    if normalizer.problem:
        return f"all tiles stay as they are: {normalizer.problem}"
    return f"{num_passed} tiles without stain stay as they are" if num_passed else ""
