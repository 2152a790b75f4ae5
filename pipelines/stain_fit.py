"""Fit a classical style to whatever is given: a run, a store, pictures, a manifest or a slide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pathology.core.output_place import require_file_place
from pathology.stain.config import StainConfig
from pathology.stain.contract import stain_of
from pathology.stain.fit import Classical, fit_reference
from pathology.stain.matrix import Pixels
from pathology.stain.normalize_store import sample_tiles
from pathology.stain.saved_style import StainError
from pathology.tiling.store import open_tiles
from pipelines.input_kinds import TileInput, as_input
from pipelines.raw_tiles import require_raw
from pipelines.tile_samples import FAULTS, Sampling, iter_samples

TILE_PX = 256  # of pictures and slides; stores have a size of their own
MAX_SLIDES = 50  # enough for a style
MAX_PICTURES = 500
MAX_TOLD = 3
MAX_LISTED = 10  # of those that are left out

Member = tuple[str, Pixels, str]  # its id, tiles (n, H, W, 3), and why there are none


def fit_model(
    target: Path | TileInput,
    out: Path,
    config: StainConfig,
    say: Callable[[str], None] = lambda line: None,
    *,
    assume_mpp: float | None = None,
) -> Classical:
    """Fit a style by config.method and write it to out as JSON.

    target      a run folder or one tile store, a picture or a folder of them, a manifest or a
                slide; of many, 50 slides or 500 pictures are taken
    assume_mpp  for slides that state none
    Members that cannot be read, or show no stain that can be measured, are left out, and said.
    Raises StainError or ArtifactError, with the reasons, where none shows H&E or one is normalized
    already, and then writes nothing.
    """
    given = as_input(target)
    require_file_place(out, given.path)
    taken: list[str] = []
    left_out: list[str] = []
    pixels = iter_pixels(
        given,
        config,
        assume_mpp=assume_mpp,
        on_taken=taken.append,
        on_left_out=left_out.append,
    )
    reference = fit_reference(
        pixels,
        config,
        source=given.path.name,
        on_left_out=lambda problem: left_out.append(f"{taken[-1]}: {problem}"),
    )
    reference.save(out)
    for line in left_out[:MAX_LISTED]:
        say(f"left out: {line}")
    if len(left_out) > MAX_LISTED:
        say(f"left out: {len(left_out) - MAX_LISTED} more")
    return reference


def iter_pixels(
    target: Path | TileInput,
    config: StainConfig,
    *,
    assume_mpp: float | None = None,
    on_taken: Callable[[str], None] = lambda slide_id: None,
    on_left_out: Callable[[str], None] = lambda line: None,
) -> Iterator[Pixels]:
    """Tiles (n, H, W, 3) of each slide, store or picture of a target, one after the other.

    assume_mpp   for slides that state none
    on_taken     called with the slide's id before its tiles come
    on_left_out  called with id and problem of one that has none
    Raises StainError for a member that is normalized already, and at the end where none could be
    read.
    """
    given = as_input(target)
    problems: list[str] = []
    num_read = 0
    for slide_id, tiles, problem in _members(given, config, assume_mpp):
        if len(tiles):
            num_read += 1
            on_taken(slide_id)
            yield tiles
        else:
            problems.append(f"{slide_id}: {problem}")
            on_left_out(problems[-1])
    if not num_read:
        told = "; ".join(sorted(problems)[:MAX_TOLD])
        raise StainError(f"{given.path}: no pixels to fit a stain to ({told or 'it is empty'})")


def _members(given: TileInput, config: StainConfig, assume_mpp: float | None) -> Iterator[Member]:
    if given.stores:
        yield from _of_stores(given, config)
        return
    most = MAX_PICTURES if given.kind == "images" else MAX_SLIDES
    sampling = Sampling(TILE_PX, config.num_sample_tiles, assume_mpp=assume_mpp)
    for sample in iter_samples(given, sampling, most):
        require_raw(given.path, sample.slide_id, sample.stain)
        yield sample.slide_id, sample.tiles_NHW3, sample.problem


def _of_stores(given: TileInput, config: StainConfig) -> Iterator[Member]:
    """Tiles of 50 stores at most, evenly chosen; none, and why, of one that cannot be read."""
    step = -(-len(given.stores) // MAX_SLIDES)
    for path in given.stores[::step]:
        try:
            store = open_tiles(path)
            tiles, stain = sample_tiles(store, config), stain_of(store.attributes)
        except FAULTS as fault:
            yield path.stem, np.zeros((0, 1, 1, 3), np.uint8), str(fault)
            continue
        require_raw(given.path, path.stem, stain)
        yield path.stem, tiles, "it holds no tiles"
