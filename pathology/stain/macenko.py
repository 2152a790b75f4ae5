"""Macenko's stain normalization, fitted once a slide: a reference style and what renders it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError, model_validator

from pathology.core.artifact import fingerprint, write_text
from pathology.core.config import StageConfig
from pathology.core.errors import PathologyError
from pathology.stain.color_table import build_table, look_up
from pathology.stain.config import StainConfig
from pathology.stain.matrix import (
    Matrix,
    Pixels,
    concentrations,
    estimate_white,
    is_stained,
    macenko_matrix,
    max_concentrations,
    optical_density,
    rerender_matrix,
)

REFERENCE_SCHEMA = 1
USUAL_WHITE = 240.0  # where a slide shows no glass
GLASS_SHARE = 1 / 3  # of min_od: below it a pixel is glass and stays as it is
BLACK_OD = 3.0
TOO_LITTLE, ONE_STAIN = "too little stained tissue", "no two stains can be told apart"

Vector = tuple[float, float, float]


class StainError(PathologyError):
    """A stain reference that cannot be made or read."""


@dataclass(frozen=True)
class Stains:
    """What was measured of a slide's staining: matrix (2, 3), amounts (2,), glass (3,)."""

    matrix: Matrix
    max_concentrations: NDArray[np.float64]
    white_level: NDArray[np.float64]


class StainReference(StageConfig):
    """A style to render towards, kept as a small JSON file.

    matrix              unit rows H and E, columns R G B in optical density
    max_concentrations  99th percentile of each stain's amount
    white_level         intensity of empty glass in that style
    source              where it comes from, for the reader; not part of the fingerprint
    """

    method: Literal["macenko"] = "macenko"
    matrix: tuple[Vector, Vector]
    max_concentrations: tuple[float, float]
    white_level: Vector = (USUAL_WHITE,) * 3
    source: str = ""

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        numbers = np.array([*self.matrix[0], *self.matrix[1], *self.max_concentrations])
        if not np.isfinite(numbers).all() or min(self.max_concentrations) <= 0:
            raise ValueError("numbers must be finite and concentrations positive")
        rows = np.array(self.matrix)
        if np.abs(np.linalg.norm(rows, axis=1) - 1).max() > 1e-2:
            raise ValueError("the rows of matrix must have unit length")
        if np.linalg.norm(np.cross(rows[0], rows[1])) < 1e-2:
            raise ValueError("the two rows of matrix are the same stain")
        if not all(100 <= level <= 255 for level in self.white_level):
            raise ValueError("white_level must lie between 100 and 255")
        return self

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of all that shapes pixels."""
        return fingerprint("stain", REFERENCE_SCHEMA, self.model_copy(update={"source": ""}), {})

    @property
    def stains(self) -> Stains:
        """The numbers as arrays, rows of exactly unit length."""
        rows = np.array(self.matrix)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return Stains(rows, np.array(self.max_concentrations), np.array(self.white_level))

    def save(self, path: Path) -> None:
        """Write the reference to a JSON file, whole or not at all."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The reference of a JSON file. Raises StainError where it is none."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StainError(f"{path}: cannot be read ({error.strerror})") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise StainError(f"{path}: not a stain reference ({where}: {first['msg']})") from error


# The default of M. Veta's widely used implementation of the method (normalizeStaining, 2013), made
# with natural logarithms and a white level of 240, as here.
TEXTBOOK = StainReference(
    matrix=((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581)),
    max_concentrations=(1.9705, 1.0308),
    source="textbook H&E (Veta 2013, after Macenko et al. 2009)",
)


class Estimate(NamedTuple):
    """Stains, or None and the problem that stood in the way."""

    stains: Stains | None
    problem: str = ""


class Rendered(NamedTuple):
    """Tiles (N, H, W, 3) and which of them (N,) passed through unchanged."""

    tiles: Pixels
    is_passed: NDArray[np.bool_]


def estimate_stains(sample: Pixels, config: StainConfig) -> Estimate:
    """The staining that a sample (..., 3) of one slide's pixels shows. Never raises."""
    pixels = np.ascontiguousarray(sample).reshape(-1, 3)
    step = max(1, -(-len(pixels) // config.num_sample_pixels))
    pixels = pixels[::step]
    white = _white_level(pixels, config)
    od = optical_density(pixels, white)
    stained = od[is_stained(pixels, od, config.min_od)]
    if len(stained) < config.min_stained_pixels:
        return Estimate(None, f"{TOO_LITTLE} ({len(stained)} of {len(pixels)} pixels)")
    matrix = macenko_matrix(stained, config.angle_percentile, config.min_angle)
    if matrix is None:
        return Estimate(None, ONE_STAIN)
    highest = max_concentrations(concentrations(stained, matrix))
    if not highest.min() > 1e-3:
        return Estimate(None, ONE_STAIN)
    return Estimate(Stains(matrix, highest, white))


def fit_reference(
    samples: Sequence[Pixels], config: StainConfig, source: str = ""
) -> StainReference:
    """The style of one or more slides, each given as a sample of its pixels or tiles (..., 3).

    Of several the median is taken, so that one odd slide does not set the style. Raises
    StainError where none shows two stains.
    """
    found = [estimate_stains(sample, config) for sample in samples]
    good = [estimate.stains for estimate in found if estimate.stains is not None]
    if not good:
        problems = "; ".join(sorted({e.problem for e in found})) or "it holds no pixels"
        raise StainError(
            f"no stain reference from {source or 'the target'}: {problems}. "
            "Give H&E tissue with nuclei and stroma"
        )
    rows = np.median([stains.matrix for stains in good], axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    highest = np.median([stains.max_concentrations for stains in good], axis=0)
    white = np.median([stains.white_level for stains in good], axis=0)
    return StainReference(
        matrix=(_vector(rows[0]), _vector(rows[1])),
        max_concentrations=(round(float(highest[0]), 6), round(float(highest[1]), 6)),
        white_level=_vector(white),
        source=source,
    )


class MacenkoNormalizer:
    """Renders the tiles of one slide in the style of a reference.

    own      the slide's staining, or None: then every tile passes through
    problem  why there is none
    """

    def __init__(
        self, own: Stains | None, reference: StainReference, config: StainConfig, problem: str = ""
    ) -> None:
        self.own, self.reference, self.config, self.problem = own, reference, config, problem
        if own is None:
            return
        target = reference.stains
        limit = config.max_gain
        self.gain = np.clip(target.max_concentrations / own.max_concentrations, 1 / limit, limit)
        od_map = rerender_matrix(own.matrix, target.matrix, self.gain)
        # intensity = white * exp(-od @ map): the white level joins as the exponent's offset
        affine = np.hstack([-od_map.T, np.log(target.white_level)[:, None]]).astype(np.float32)
        self._table = build_table(partial(_render, own.white_level, affine, config.min_od))

    @classmethod
    def fit(cls, sample: Pixels, reference: StainReference, config: StainConfig) -> Self:
        """A normalizer for the slide of which sample (..., 3) shows pixels or tiles."""
        estimate = estimate_stains(sample, config)
        return cls(estimate.stains, reference, config, estimate.problem)

    def transform(self, tiles_NHW3: Pixels) -> Pixels:
        """The tiles in the style of the reference; glass, and tiles of nothing else, unchanged."""
        return self.render(tiles_NHW3).tiles

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The same, with which tiles passed through."""
        rendered = np.array(tiles_NHW3, np.uint8, order="C")
        is_passed = np.ones(len(rendered), np.bool_)
        if self.own is not None and rendered.size:
            for i, tile in enumerate(rendered):
                is_passed[i] = not self._render_tile(tile)
        return Rendered(rendered, is_passed)

    def _render_tile(self, tile: Pixels) -> bool:
        """Re-render a tile in place, or leave it and say False."""
        pixels, num_stained = look_up(self._table, tile)
        num_pixels = tile.shape[0] * tile.shape[1]
        if num_stained < max(1.0, self.config.min_stained_fraction * num_pixels):
            return False
        tile[:] = pixels
        return True


def _render(
    white_level: NDArray[np.float64],
    affine: NDArray[np.float32],
    min_od: float,
    colors: Pixels,
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Colors (H, W, 3) in the style of the reference, and which of them (H, W) are stained.

    affine  (3, 4) from optical density to the logarithm of intensity, the last column added
    """
    od = optical_density(colors, white_level)
    stained = cv2.convertScaleAbs(cv2.exp(cv2.transform(od, affine)))
    depth = cv2.transform(od, np.full((1, 3), 1 / 3, np.float32))
    # from glass, which stays, to stain, which changes, without an edge in between
    low = GLASS_SHARE * min_od
    weight = np.clip((depth - low) / (min_od - low), 0.0, 1.0)
    mixed = cv2.blendLinear(stained, colors, weight, 1.0 - weight)
    return np.asarray(mixed, np.uint8), (depth > min_od) & (depth < BLACK_OD)


def _white_level(pixels: Pixels, config: StainConfig) -> NDArray[np.float64]:
    if config.white_level is not None:
        return np.full(3, config.white_level)
    measured = estimate_white(pixels) if len(pixels) else None
    return np.full(3, USUAL_WHITE) if measured is None else measured


def _vector(values: NDArray[np.float64]) -> Vector:
    first, second, third = (round(float(value), 6) for value in values)
    return first, second, third
