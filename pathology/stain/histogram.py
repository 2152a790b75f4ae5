"""Histogram matching to a domain: the tissue of many slides pooled, not one image.

Each channel's intensities are mapped so that their distribution over a slide's tissue becomes the
domain's (Gonzalez & Woods, Digital Image Processing, section 3.3: histogram specification).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self

import cv2
import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from pydantic import model_validator

from pathology.stain.arrays import Array, as_numpy, like
from pathology.stain.classical import ClassicalReference, Measured
from pathology.stain.config import StainConfig
from pathology.stain.matrix import Floats, Pixels
from pathology.stain.table_normalizer import Painter
from pathology.stain.tissue import Tissue

NUM_LEVELS = 256
MIN_LEVELS = 8  # of a channel, below which there is nothing to match
DIGITS = 8
EDGES = np.arange(NUM_LEVELS + 1) - 0.5  # of an intensity's range, seen as continuous

Shares = tuple[float, ...]


class HistogramReference(ClassicalReference):
    """A style as the share of its tissue at each of 256 intensities, for R, G and B."""

    method: Literal["histogram"] = "histogram"
    shares: tuple[Shares, Shares, Shares]
    unfit: ClassVar[str] = "its tissue shows hardly more than one intensity"

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if any(len(channel) != NUM_LEVELS for channel in self.shares):
            raise ValueError(f"every channel must have {NUM_LEVELS} shares")
        shares = np.array(self.shares)
        if not np.isfinite(shares).all() or shares.min() < 0:
            raise ValueError("shares must be finite and not negative")
        if np.abs(shares.sum(axis=1) - 1).max() > 1e-3:
            raise ValueError("the shares of a channel must sum to 1")
        return self

    @classmethod
    def measure(cls, tissue: Tissue, config: StainConfig) -> Measured:
        """Share (G, 3, 256) of the tissue at each intensity."""
        xp = array_namespace(tissue.colors_GP3)
        counts_G3L = _counts(tissue.colors_GP3, tissue.is_stained_GP)
        total = xp.clip(xp.sum(counts_G3L, axis=-1, keepdims=True), 1, None)
        num_levels_G3 = xp.sum(xp.astype(counts_G3L > 0, xp.int64), axis=-1)
        is_ok_G = xp.all(num_levels_G3 >= MIN_LEVELS, axis=1)
        return Measured((xp.astype(counts_G3L, xp.float64) / total,), is_ok_G)

    @classmethod
    def pooled(cls, parts: Sequence[Measured], whites: Sequence[Any], source: str) -> Self:
        """The distribution over the slides' tissue together, each slide counted alike."""
        mean = np.mean([part.numbers[0][0] for part in parts], axis=0)
        red, green, blue = (tuple(np.round(channel, DIGITS).tolist()) for channel in mean)
        return cls(shares=(red, green, blue), source=source)

    def paint(self, tissue: Tissue, numbers: tuple[Array, ...], config: StainConfig) -> Array:
        """Intensities (G, P, 3) of all pixels in this style."""
        xp = array_namespace(tissue.colors_GP3)
        curves_G3L = like(matching_curves(as_numpy(numbers[0]), self.shares), tissue.od_GP3)
        levels = xp.astype(tissue.colors_GP3, xp.int64)
        painted = [xp.take_along_axis(curves_G3L[:, c], levels[..., c], axis=1) for c in range(3)]
        return xp.stack(painted, axis=-1)

    def painter(self, numbers: tuple[Array, ...], white: Any, config: StainConfig) -> Painter:
        """The same as a fast function of 8-bit colors for the one group measured."""
        curves_3L = matching_curves(as_numpy(numbers[0]), self.shares)[0]
        return partial(_painted, np.rint(curves_3L).astype(np.uint8).T[None].copy())


def matching_curves(own_G3L: NDArray[np.float64], wanted_3L: Sequence[Shares]) -> Floats:
    """New intensity (G, 3, 256) of every intensity, so that own shares become the wanted ones.

    The new intensity has the same rank in the wanted distribution as the old one, in the middle
    of its share, has in its own. Levels never seen take the nearest seen rank.
    """
    ranks = np.cumsum(own_G3L, axis=-1) - own_G3L / 2
    ranks = np.clip(ranks, 0.0, 1.0 - 1e-6)  # 1 would be above every level, seen or not
    curves = np.empty(own_G3L.shape, np.float32)
    for c, shares in enumerate(wanted_3L):
        knots = np.concatenate([[0.0], np.cumsum(shares)])
        curves[:, c] = np.interp(ranks[:, c], knots / knots[-1], EDGES)
    return np.clip(curves, 0.0, 255.0)


def _counts(colors_GP3: Array, is_counted_GP: Array) -> Array:
    """How many pixels (G, 3, 256) that count have each intensity."""
    xp = array_namespace(colors_GP3)
    num_groups = colors_GP3.shape[0]
    places = xp.arange(num_groups * 3, dtype=xp.int64, device=device(colors_GP3))
    bins = xp.reshape(places, (num_groups, 1, 3)) * NUM_LEVELS + xp.astype(colors_GP3, xp.int64)
    # bincount is no part of the array standard, but numpy and torch have the same one
    counts = xp.bincount(
        xp.reshape(bins[is_counted_GP], (-1,)), minlength=num_groups * 3 * NUM_LEVELS
    )
    return xp.reshape(counts, (num_groups, 3, NUM_LEVELS))


def _painted(curves: Pixels, colors: Pixels) -> Pixels:
    return np.asarray(cv2.LUT(colors, curves), np.uint8)
