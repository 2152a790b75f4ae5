"""Fit a classical style to whatever is given: a run, a store, pictures, a manifest or a slide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pathology.stain.config import StainConfig
from pathology.stain.fit import Classical, fit_reference
from pathology.stain.matrix import Pixels
from pathology.stain.normalize_store import sample_tiles
from pathology.stain.saved_style import StainError
from pathology.tiling.store import open_tiles
from pipelines.input_kinds import TileInput, as_input
from pipelines.tile_samples import FAULTS, Sampling, iter_samples

TILE_PX = 256  # of pictures and slides; stores have a size of their own
MAX_SLIDES = 50  # enough for a style
MAX_PICTURES = 500
MAX_TOLD = 3


def fit_model(target: Path | TileInput, out: Path, config: StainConfig) -> Classical:
    """Fit a style by config.method and write it to out as JSON.

    target  a run folder or one tile store, a picture or a folder of them, a manifest or a slide;
            of many, 50 slides or 500 pictures are taken
    Members that cannot be read are left out. Raises StainError or ArtifactError, with the reasons,
    where none shows H&E, and then writes nothing.
    """
    given = as_input(target)
    reference = fit_reference(iter_pixels(given, config), config, source=given.path.name)
    reference.save(out)
    return reference


def iter_pixels(target: Path | TileInput, config: StainConfig) -> Iterator[Pixels]:
    """Tiles (n, H, W, 3) of each slide, store or picture of a target, one after the other.

    Raises StainError at the end where none could be read.
    """
    given = as_input(target)
    problems: list[str] = []
    num_read = 0
    if given.stores:
        found = _of_stores(given.stores, config)
    else:
        most = MAX_PICTURES if given.kind == "images" else MAX_SLIDES
        sampling = Sampling(TILE_PX, config.num_sample_tiles)
        found = (
            (sample.tiles_NHW3, f"{sample.slide_id}: {sample.problem}")
            for sample in iter_samples(given, sampling, most)
        )
    for tiles, problem in found:
        if len(tiles):
            num_read += 1
            yield tiles
        else:
            problems.append(problem)
    if not num_read:
        told = "; ".join(sorted(problems)[:MAX_TOLD])
        raise StainError(f"{given.path}: no pixels to fit a stain to ({told or 'it is empty'})")


def _of_stores(stores: tuple[Path, ...], config: StainConfig) -> Iterator[tuple[Pixels, str]]:
    """Tiles of 50 stores at most, evenly chosen; none, and why, of one that cannot be read."""
    step = -(-len(stores) // MAX_SLIDES)
    for path in stores[::step]:
        try:
            yield sample_tiles(open_tiles(path), config), f"{path.stem}: it holds no tiles"
        except FAULTS as fault:
            yield np.zeros((0, 1, 1, 3), np.uint8), f"{path.stem}: {fault}"
