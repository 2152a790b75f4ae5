"""What the classical methods share: a style as a small JSON file, fitted to slides, rendered.

Every method is a change of color alone: it measures a slide, or a tile, and then is one function
of colors. That function is written twice, for speed: over groups of numpy arrays or torch tensors
(paint), and for the table of all colors (painter). A test holds the two together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from array_api_compat import array_namespace

from pathology.stain.arrays import Array, as_numpy, num_counted
from pathology.stain.config import StainConfig
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import PassThrough, Rendered, SlideNormalizer
from pathology.stain.saved_style import SavedStyle
from pathology.stain.table_normalizer import Painter, TableNormalizer, least_stained
from pathology.stain.tissue import Tissue, has_color, look_at, num_rendered, repainted

TILE_PIXELS = 20_000  # of a tile, where each is measured by itself
TOO_LITTLE, NO_COLOR = "too little stained tissue", "its tissue shows no color"
NO_TISSUE = "no tissue was found"

Vector = tuple[float, float, float]


class Measured(NamedTuple):
    """What a method measures of groups of pixels.

    numbers  arrays whose first axis is the group, usable where is_ok_G, and never NaN elsewhere
    is_ok_G  which groups the method can work with
    """

    numbers: tuple[Array, ...]
    is_ok_G: Array


class ClassicalReference(SavedStyle):
    """A style to render towards, and how it is measured and painted.

    unfit  in words, why a slide with enough stain may still not be measured
    """

    unfit: ClassVar[str]

    @classmethod
    @abstractmethod
    def measure(cls, tissue: Tissue, config: StainConfig) -> Measured:
        """The numbers of groups of pixels that the method needs."""

    @classmethod
    @abstractmethod
    def pooled(cls, parts: Sequence[Measured], whites: Sequence[Any], source: str) -> Self:
        """The common style of slides, each measured as one group, with their glass (3,)."""

    @abstractmethod
    def paint(self, tissue: Tissue, numbers: tuple[Array, ...], config: StainConfig) -> Array:
        """Intensities (G, P, 3) of all pixels in this style, not clipped yet."""

    @abstractmethod
    def painter(self, numbers: tuple[Array, ...], white: Any, config: StainConfig) -> Painter:
        """The same as a fast function of 8-bit colors for the one group measured, picklable."""

    def columns(
        self, numbers: tuple[Array, ...], white: Any, config: StainConfig
    ) -> dict[str, Any]:
        """Columns of stain.csv on the one group measured."""
        return {"white_level": " ".join(f"{level:.0f}" for level in white)}

    def for_slide(self, sample_NHW3: Pixels, config: StainConfig) -> SlideNormalizer:
        """A normalizer for the slide of which the sample shows pixels or tiles (..., 3)."""
        if config.per_tile:
            return TileByTile(self, config)
        tissue = look_at(sampled(sample_NHW3, config)[None], config)
        measured = self.measure(tissue, config)
        problem = problem_of(tissue, measured, config, self.unfit)
        if problem:
            return PassThrough(problem)
        white = np.asarray(tissue.white_G3[0], np.float64)
        return TableNormalizer(
            self.painter(measured.numbers, white, config),
            white,
            config,
            self.columns(measured.numbers, white, config),
        )


class TileByTile:
    """Measures each tile by itself and renders it, without any table."""

    margin_px = 0
    problem = ""

    def __init__(self, reference: ClassicalReference, config: StainConfig) -> None:
        self.reference, self.config = reference, config

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles in the style of the reference; those without stain unchanged."""
        rendered = np.array(tiles_NHW3, np.uint8, order="C")
        is_passed = np.ones(len(rendered), np.bool_)
        if rendered.size:
            for i, tile in enumerate(rendered):
                is_passed[i] = not self._render_tile(tile)
        return Rendered(rendered, is_passed)

    def measured(self) -> dict[str, Any]:
        """Nothing: every tile has its own."""
        return {}

    def _render_tile(self, tile: Pixels) -> bool:
        """Re-render a tile in place, or leave it and say False."""
        reference, config = self.reference, self.config
        tissue = look_at(sampled(tile, config)[None], config)
        measured = reference.measure(tissue, config)
        if not is_fit(tissue, measured, config)[0]:
            return False
        white = np.asarray(tissue.white_G3[0], np.float64)
        paint = reference.painter(measured.numbers, white, config)
        return TableNormalizer(paint, white, config, {}).render_tile(tile)


def normalize_batch(
    tiles_NHW3: Array, reference: ClassicalReference, config: StainConfig
) -> Rendered:
    """Tiles (N, H, W, 3), uint8, in the style of a reference, and which (N,) passed through.

    Takes numpy arrays or torch tensors and gives the same kind back, on the same device. The
    tiles are measured together as one slide, or with config.per_tile each by itself. Tiles
    without stain, and all where nothing can be measured, pass through unchanged.
    """
    xp = array_namespace(tiles_NHW3)
    num, height, width = tiles_NHW3.shape[:3]
    if not num or not height or not width:
        return Rendered(xp.asarray(tiles_NHW3, copy=True), np.ones(num, np.bool_))
    colors_NP3 = xp.reshape(tiles_NHW3, (num, height * width, 3))
    groups = colors_NP3 if config.per_tile else xp.reshape(colors_NP3, (1, -1, 3))
    sample = look_at(groups[:, :: stride(groups.shape[1], config)], config)
    measured = reference.measure(sample, config)
    tissue = look_at(groups, config, sample.white_G3)
    painted = repainted(tissue, reference.paint(tissue, measured.numbers, config), config.min_od)
    num_stained = num_rendered(xp.reshape(tissue.depth_GP, (num, -1)), config.min_od)
    is_passed = num_stained < least_stained(height * width, config)
    is_passed = is_passed | ~is_fit(sample, measured, config)
    kept = xp.where(is_passed[:, None, None], colors_NP3, xp.reshape(painted, colors_NP3.shape))
    return Rendered(xp.reshape(kept, tiles_NHW3.shape), is_passed)


def sampled(pixels: Pixels, config: StainConfig) -> Pixels:
    """Pixels (P, 3), evenly chosen, of pixels or tiles (..., 3)."""
    flat = pixels.reshape(-1, 3)
    return flat[:: stride(len(flat), config)]


def stride(num_pixels: int, config: StainConfig) -> int:
    """Every how many pixels to look; odd, so that no column of a tile is left out."""
    most = config.num_sample_pixels
    step = max(1, -(-num_pixels // (min(most, TILE_PIXELS) if config.per_tile else most)))
    return step if step == 1 else step | 1


def is_fit(tissue: Tissue, measured: Measured, config: StainConfig) -> Array:
    """Which groups (G,) can be normalized."""
    is_enough = num_counted(tissue.is_stained_GP) >= config.min_stained_pixels
    return is_enough & has_color(tissue) & measured.is_ok_G


def problem_of(tissue: Tissue, measured: Measured, config: StainConfig, unfit: str) -> str:
    """Why the one group that was measured cannot be normalized, or ""."""
    num_stained, num_pixels = int(num_counted(tissue.is_stained_GP)[0]), tissue.od_GP3.shape[1]
    if not num_pixels:
        return NO_TISSUE
    if num_stained < config.min_stained_pixels:
        return f"{TOO_LITTLE} ({num_stained} of {num_pixels} pixels)"
    if not bool(has_color(tissue)[0]):
        return NO_COLOR
    return "" if bool(measured.is_ok_G[0]) else unfit


def vector(values: Array) -> Vector:
    """Three numbers as a reference keeps them."""
    first, second, third = (round(float(value), 6) for value in as_numpy(values))
    return first, second, third
