"""The styles of a slide's tiles, kept beside them in their store once they are known."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import fingerprint, publish, write_text
from pathology.stain.config import StainConfig
from pathology.stain.macenko import estimate_stains
from pathology.stain.matrix import angle_between, are_stains
from pathology.stain.stains import ONE_STAIN
from pathology.stain.styles import is_textbook, tile_styles
from pathology.tiling.store import open_tiles, read_attributes
from pathology.tiling.zarr_text import column_attributes, read_column, write_column
from pipelines.tile_samples import SlideTiles, sample_slides

COLUMN, SCHEMA = "stain_matrix", 1

Matrices = NDArray[np.float32]  # (N, 2, 3), unit rows H and E; NaN where not measured yet


@dataclass(frozen=True)
class StyleRow:
    """The staining of one slide.

    hematoxylin, eosin  mean vectors of its tiles, "R G B" in optical density, unit length
    h_spread, e_spread  median angle, in degrees, of its tiles' vectors from them
    problem             why there is nothing to say, or ""
    """

    slide_id: str
    centre: str
    num_tiles: int = 0
    hematoxylin: str = ""
    eosin: str = ""
    h_spread: float | None = None
    e_spread: float | None = None
    problem: str = ""

    def line(self) -> str:
        """The row for people."""
        if self.problem:
            return f"{self.slide_id}: {self.problem}"
        return (
            f"{self.slide_id}: H {self.hematoxylin} (±{self.h_spread}°), "
            f"E {self.eosin} (±{self.e_spread}°), {self.num_tiles} tiles"
        )


def list_styles(
    source: Path, config: StainConfig, tiles_per_slide: int, assume_mpp: float | None = None
) -> list[StyleRow]:
    """The staining of every slide of an input; the styles of stores' tiles are kept in them.

    assume_mpp  for slides that state none
    """
    slides = sample_slides(
        source, tiles_per_slide=tiles_per_slide, assume_mpp=assume_mpp, is_smaller_fine=True
    )
    return [_row(slide, config) for slide in slides]


def write_styles(path: Path, rows: Sequence[StyleRow]) -> None:
    """Write the rows as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*StyleRow.__dataclass_fields__], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(path, text.getvalue())


def _row(slide: SlideTiles, config: StainConfig) -> StyleRow:
    if not len(slide.tiles_NHW3):
        return StyleRow(slide.slide_id, slide.centre, problem=slide.problem or "no tiles")
    matrices = styles_of(slide, config).astype(np.float64)
    problem = _problem(slide, matrices, config)
    if problem:
        return StyleRow(slide.slide_id, slide.centre, len(matrices), problem=problem)
    mean = matrices.mean(axis=0)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    h_spread, e_spread = (
        round(float(np.median([angle_between(tile[row], mean[row]) for tile in matrices])), 1)
        for row in (0, 1)
    )
    hematoxylin, eosin = (" ".join(f"{value:.3f}" for value in vector) for vector in mean)
    return StyleRow(
        slide.slide_id, slide.centre, len(matrices), hematoxylin, eosin, h_spread, e_spread
    )


def _problem(slide: SlideTiles, matrices: NDArray[np.float64], config: StainConfig) -> str:
    """Why nothing was measured of a slide, in the words of `stain apply`, or "".

    matrices  (N, 2, 3) of its tiles, all of them the textbook's where none could be measured
    """
    if not is_textbook(matrices):
        return ""
    return estimate_stains(slide.tiles_NHW3, config).problem or f"on no single tile: {ONE_STAIN}"


def styles_of(slide: SlideTiles, config: StainConfig) -> Matrices:
    """Stain matrices (N, 2, 3) of a slide's sample tiles.

    Those of a store are read from it where they are known, and kept in it where it may be
    written. What is damaged there, or is no pair of stains, is not known.
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
    """Matrices (num_tiles, 2, 3) of a column of that name; NaN where there is none to believe."""
    unknown = np.full((num_tiles, 2, 3), np.nan, np.float32)
    try:
        is_named = column_attributes(path).get("fingerprint") == name
        found = np.asarray(read_column(path), np.float32) if is_named else unknown
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return unknown
    if found.shape != unknown.shape:
        return unknown
    return np.where(are_stains(found)[:, None, None], found, unknown)
