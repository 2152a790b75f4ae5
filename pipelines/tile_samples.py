"""Sample tiles of every slide of whatever is given: what stain models and adaptation see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError, PathologyError, SlideError, reason_of
from pathology.core.geometry import TileSpec
from pathology.core.manifest import SlideRecord
from pathology.slides.jpeg import DamagedJpeg
from pathology.slides.open import open_slide
from pathology.slides.plan import planes
from pathology.slides.reader import SlideReader, read_tiles, scale_to
from pathology.slides.resolution import Spacing, decide_spacing
from pathology.stain.contract import RAW, stain_of
from pathology.stain.matrix import Pixels
from pathology.tiling.config import TilingConfig
from pathology.tiling.store import TileStore, open_tiles
from pathology.tiling.survey import survey_slide
from pipelines.flat_pictures import evenly, read_picture, squares_of
from pipelines.input_kinds import TileInput, look_at

USUAL_MPP = 0.5
MOST_ENLARGED, LEAST_OF_A_TILE = 4.0, 0.5  # of pictures that are scaled to the tiles' resolution
MPP_TOLERANCE = 0.02
FAULTS = (PathologyError, OSError, DamagedJpeg, KeyError)  # the last two from a damaged store


@dataclass(frozen=True)
class SlideTiles:
    """Sample tiles of one slide, or why there are none.

    mpp          microns per pixel of the tiles; None: not known
    tiles_NHW3   uint8; N is 0 where there is a problem
    store, rows  the tile store they come from, and their rows (N,) in it
    problem      why there are no tiles, or ""
    stain        fingerprint of the stain that tiles were normalized to, or "raw"
    """

    slide_id: str
    centre: str
    mpp: float | None
    tiles_NHW3: Pixels
    store: Path | None = None
    rows: NDArray[np.int64] | None = None
    problem: str = ""
    stain: str = RAW


@dataclass(frozen=True)
class Sampling:
    """How slides are sampled; see sample_slides.

    is_smaller_fine  whether smaller tiles of stores are taken as they are
    setting          by which whoever asks may ask for another size_px, for the message
    """

    size_px: int
    tiles_per_slide: int
    mpp: float | None = None
    assume_mpp: float | None = None
    is_smaller_fine: bool = False
    setting: str = ""


def sample_slides(
    path: Path,
    *,
    size_px: int = 256,
    tiles_per_slide: int,
    mpp: float | None = None,
    assume_mpp: float | None = None,
    max_slides: int | None = None,
    seed: int = 0,
    is_smaller_fine: bool = False,
) -> list[SlideTiles]:
    """Evenly spaced tiles of every slide, store or picture of an input; see look_at.

    mpp         microns per pixel of the tiles. None: stores and pictures as they are, slides at
                0.5, or as scanned where that is coarser. Pictures that state no resolution are
                taken as they are
    assume_mpp  for slides that state none
    max_slides  a random choice of so many, by seed
    A slide that cannot be read comes back with its problem; the others do not suffer from it.
    Raises ArtifactError or ManifestError for an input that is none.
    """
    sampling = Sampling(size_px, tiles_per_slide, mpp, assume_mpp, is_smaller_fine)
    return list(iter_samples(look_at(path), sampling, max_slides, seed))


def iter_samples(
    given: TileInput, sampling: Sampling, max_slides: int | None = None, seed: int = 0
) -> Iterator[SlideTiles]:
    """The same, one slide at a time, so that memory does not depend on their number."""
    centres = dict(given.centres)
    members: list[Path | SlideRecord | SlideError] = [
        *given.stores, *given.slides, *given.rejected
    ]  # fmt: skip
    if max_slides is not None and len(members) > max_slides:
        chosen = np.random.default_rng(seed).choice(len(members), max_slides, replace=False)
        members = [members[number] for number in sorted(chosen.tolist())]
    for member in members:
        if isinstance(member, SlideError):
            yield _without_tiles(member.slide_id, "", member)
        elif isinstance(member, Path):
            yield sample_store(member, centres.get(member.stem, ""), sampling)
        elif given.kind == "images":
            yield sample_picture(member, sampling)
        else:
            yield sample_slide(member, sampling)


def require_usable(samples: Sequence[SlideTiles], path: Path) -> list[SlideTiles]:
    """The samples that hold tiles. Raises ArtifactError, with the reasons, where none does."""
    usable = [sample for sample in samples if len(sample.tiles_NHW3)]
    if not usable:
        problems = sorted({sample.problem for sample in samples if sample.problem})
        said = "; ".join(problems[:3]) or "it is empty"
        raise ArtifactError(f"{path}: no tiles to learn from ({said})")
    return usable


def sample_store(path: Path, centre: str, sampling: Sampling) -> SlideTiles:
    """Tiles of a store; larger ones than asked for are cut to their middle."""
    try:
        store = open_tiles(path)
        said = store.attributes
        centre = centre or str(said.get("outcome", {}).get("centre", ""))
        mpp = _store_mpp(store)
        _require_fit(path.stem, store.size_px, mpp, sampling)
        rows = evenly(len(store), sampling.tiles_per_slide)
        tiles = store.read(rows)
    except FAULTS as fault:
        return _without_tiles(path.stem, centre, fault)
    edge = max(0, store.size_px - sampling.size_px) // 2
    middle = slice(edge, edge + sampling.size_px)
    cut = np.ascontiguousarray(tiles[:, middle, middle])
    problem = "" if len(rows) else "its store holds no tiles"
    return SlideTiles(path.stem, centre, mpp, cut, path, rows, problem, stain_of(said))


def sample_picture(record: SlideRecord, sampling: Sampling) -> SlideTiles:
    """Squares that cover a flat picture, or as many of them as are asked for."""
    try:
        picture = read_picture(record.slide_id, record.slide_path)
    except FAULTS as fault:
        return _without_tiles(record.slide_id, record.centre, fault)
    mpp = record.mpp or picture.mpp or sampling.assume_mpp
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    if sampling.mpp and mpp:
        problem = _misfit(record.slide_id, min(height, width), mpp, sampling.mpp, sampling.size_px)
        if problem is not None:
            return _without_tiles(record.slide_id, record.centre, problem)
        scale = mpp / sampling.mpp
        if abs(scale - 1) > MPP_TOLERANCE:
            pixels = scale_to(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))
            mpp = sampling.mpp
    squares = squares_of(pixels, sampling.size_px)
    squares = squares[evenly(len(squares), sampling.tiles_per_slide)]
    stain = picture.normalized_by or RAW
    return SlideTiles(record.slide_id, record.centre, mpp, squares, stain=stain)


def _misfit(
    slide_id: str, edge_px: int, mpp: float, wanted_mpp: float, size_px: int
) -> SlideError | None:
    """Why a picture shows nothing of the size that is needed: far coarser, or far less than a tile.

    edge_px  its shorter one
    """
    um, tile_um = edge_px * mpp, size_px * wanted_mpp
    if mpp > MOST_ENLARGED * wanted_mpp:
        said = f"it has {mpp:.4g} um/px where {wanted_mpp:.4g} are needed: too coarse to enlarge"
    elif um < LEAST_OF_A_TILE * tile_um:
        said = f"it shows {um:.4g} um where a tile shows {tile_um:.4g}"
    else:
        return None
    return SlideError(slide_id, said, "Check both resolutions, or give other pictures")


def sample_slide(record: SlideRecord, sampling: Sampling) -> SlideTiles:
    """Tiles with tissue of a whole slide, read straight from it."""
    try:
        with closing(open_slide(record)) as slide:
            spacing = decide_spacing(
                record.slide_id, record.mpp, slide.facts.spacings, sampling.assume_mpp
            )
            return sample_open_slide(slide, record, spacing, sampling)
    except FAULTS as fault:
        return _without_tiles(record.slide_id, record.centre, fault)


def sample_open_slide(
    slide: SlideReader, record: SlideRecord, spacing: Spacing, sampling: Sampling
) -> SlideTiles:
    """The same of a slide that is open. Raises SlideError."""
    mpp = sampling.mpp or max(USUAL_MPP, *spacing.mpp)
    config = TilingConfig(tile=TileSpec(size_px=sampling.size_px, mpp=mpp))
    survey = survey_slide(slide, record, config, spacing)
    stain = slide.facts.normalized_by or RAW
    if not survey.num_grid:
        plane = planes(slide.levels, 1)[0]
        pixels = slide.read_plane(plane, (0, 0), plane.size)
        squares = squares_of(pixels, sampling.size_px)
        return SlideTiles(record.slide_id, record.centre, spacing.mpp[0], squares, stain=stain)
    corners = survey.l0_xy[evenly(len(survey.l0_xy), sampling.tiles_per_slide)]
    tiles = read_tiles(slide, corners, survey.plan)
    problem = "" if len(corners) else "no tissue was found on it"
    achieved = survey.plan.achieved_mpp[0]
    return SlideTiles(record.slide_id, record.centre, achieved, tiles, problem=problem, stain=stain)


def _store_mpp(store: TileStore) -> float | None:
    achieved = store.attributes.get("plan", {}).get("achieved_mpp")
    return float(achieved[0]) if achieved else None


def _require_fit(slide_id: str, size_px: int, mpp: float | None, sampling: Sampling) -> None:
    if size_px < sampling.size_px and not sampling.is_smaller_fine:
        or_else = f", or set {sampling.setting}={size_px} here" if sampling.setting else ""
        raise SlideError(
            slide_id,
            f"its tiles have {size_px} px where {sampling.size_px} are needed",
            f"Tile with tile.size_px={sampling.size_px}{or_else}",
        )
    if sampling.mpp and mpp and abs(mpp / sampling.mpp - 1) > MPP_TOLERANCE:
        raise SlideError(
            slide_id,
            f"its tiles have {mpp:.4g} um/px where {sampling.mpp:g} are needed",
            f"Tile with tile.mpp={sampling.mpp:g}",
        )


def _without_tiles(slide_id: str, centre: str, fault: Exception) -> SlideTiles:
    is_known = isinstance(fault, PathologyError | OSError)
    problem = reason_of(fault) if is_known else f"damaged ({fault})"
    return SlideTiles(slide_id, centre, None, np.zeros((0, 1, 1, 3), np.uint8), problem=problem)


def common_mpp(
    path: Path, spacings: Sequence[float], num: int, say: Callable[[str], None] | None
) -> float | None:
    """Microns per pixel of the tiles of an input; None: nothing states it.

    spacings  of those of the num slides or pictures that state one
    say       told where some do not
    Raises ArtifactError where they differ.
    """
    if not spacings:
        return None
    if max(spacings) > min(spacings) * (1 + 2 * MPP_TOLERANCE):
        raise ArtifactError(
            f"{path}: tiles of several resolutions, {min(spacings):.4g} to {max(spacings):.4g} "
            "um/px. Give --mpp, to which all are scaled"
        )
    if len(spacings) < num and say is not None:
        say(
            f"{path.name}: {num - len(spacings)} of {num} pictures state no resolution and are "
            "taken as they are: fill the column mpp, or give one for all (--target-mpp)"
        )
    return float(np.median(spacings))
