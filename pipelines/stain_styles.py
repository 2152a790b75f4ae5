"""The styles of a slide's tiles, kept beside them in their store once they are known."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import fingerprint, publish
from pathology.stain.config import StainConfig
from pathology.stain.styles import tile_styles
from pathology.tiling.store import open_tiles, read_attributes
from pathology.tiling.zarr_text import column_attributes, read_column, write_column
from pipelines.stain_inputs import SlideTiles

COLUMN, SCHEMA = "stain_matrix", 1

Matrices = NDArray[np.float32]  # (N, 2, 3), unit rows H and E; NaN where not measured yet


def styles_of(slide: SlideTiles, config: StainConfig) -> Matrices:
    """Stain matrices (N, 2, 3) of a slide's sample tiles.

    Those of a store are read from it where they are known, and kept in it where it may be
    written.
    """
    if slide.store is None or slide.rows is None:
        return tile_styles(slide.tiles_NHW3, config).matrix_N23
    path = slide.store / COLUMN
    name = styles_fingerprint(slide.store, config)
    known = _known(path, name, len(open_tiles(slide.store)))
    if np.isnan(known[slide.rows]).any():
        known[slide.rows] = tile_styles(slide.tiles_NHW3, config).matrix_N23
        with contextlib.suppress(OSError), publish(path) as scratch:  # a store that is read-only
            write_column(scratch, known, {"fingerprint": name})
    return known[slide.rows]


def styles_fingerprint(store: Path, config: StainConfig) -> str:
    """Name of the styles that a store's tiles have by these settings."""
    tiles = str(read_attributes(store)["fingerprint"])
    return fingerprint("styles", SCHEMA, config, {"tiles": tiles})


def _known(path: Path, name: str, num_tiles: int) -> Matrices:
    if column_attributes(path).get("fingerprint") == name:
        return read_column(path)
    return np.full((num_tiles, 2, 3), np.nan, np.float32)
