"""Reinhard's method: mean and spread of a slide's tissue in a perceptual color space.

Reinhard et al., "Color transfer between images", IEEE CG&A 2001, in CIE L*a*b* as torchstain and
TIAToolbox do it. Two deviations: only stained pixels are measured, and a spread is changed by
config.max_gain at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
from array_api_compat import array_namespace
from pydantic import model_validator

from pathology.stain.arrays import Array, as_numpy, like, masked_mean
from pathology.stain.classical import ClassicalReference, Measured, Vector, vector
from pathology.stain.config import StainConfig
from pathology.stain.lab import lab_to_rgb, rgb_to_lab, transfer_lab
from pathology.stain.table_normalizer import Painter
from pathology.stain.tissue import Tissue

MIN_SPREAD = 0.1  # of L*, a* and b*: below it a channel does not vary
LOWEST = (0.0, -128.0, -128.0)
HIGHEST = (100.0, 127.0, 127.0)


class ReinhardReference(ClassicalReference):
    """A style as the mean and the standard deviation of L*, a* and b* over its tissue."""

    method: Literal["reinhard"] = "reinhard"
    mean: Vector
    spread: Vector
    unfit: ClassVar[str] = "the color of its tissue does not vary"

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if not np.isfinite([*self.mean, *self.spread]).all() or min(self.spread) < MIN_SPREAD:
            raise ValueError(f"numbers must be finite, and spread at least {MIN_SPREAD}")
        if not all(lo <= v <= hi for lo, v, hi in zip(LOWEST, self.mean, HIGHEST, strict=True)):
            raise ValueError("mean must be a color in L*a*b*")
        return self

    @classmethod
    def measure(cls, tissue: Tissue, config: StainConfig) -> Measured:
        """Mean (G, 3) and standard deviation (G, 3) of L*, a* and b*."""
        xp = array_namespace(tissue.od_GP3)
        lab = rgb_to_lab(tissue.colors_GP3)
        mean_G3 = masked_mean(lab, tissue.is_stained_GP)
        variance_G3 = masked_mean((lab - mean_G3[:, None, :]) ** 2, tissue.is_stained_GP)
        spread_G3 = xp.sqrt(variance_G3)
        is_ok_G = xp.all(spread_G3 >= MIN_SPREAD, axis=1)
        return Measured((mean_G3, xp.clip(spread_G3, MIN_SPREAD, None)), is_ok_G)

    @classmethod
    def pooled(cls, parts: Sequence[Measured], whites: Sequence[Any], source: str) -> Self:
        """Mean and spread of the slides' tissue together, each slide counted alike."""
        means = np.stack([part.numbers[0][0] for part in parts]).astype(np.float64)
        spreads = np.stack([part.numbers[1][0] for part in parts]).astype(np.float64)
        spread = np.sqrt((spreads**2).mean(axis=0) + means.var(axis=0))
        return cls(mean=vector(means.mean(axis=0)), spread=vector(spread), source=source)

    def paint(self, tissue: Tissue, numbers: tuple[Array, ...], config: StainConfig) -> Array:
        """Intensities (G, P, 3) of all pixels in this style: equations (10) and (11)."""
        scale_G3, shift_G3 = self._transfer(numbers, config)
        lab = rgb_to_lab(tissue.colors_GP3)
        return lab_to_rgb(lab * scale_G3[:, None, :] + shift_G3[:, None, :])

    def painter(self, numbers: tuple[Array, ...], white: Any, config: StainConfig) -> Painter:
        """The same as a fast function of 8-bit colors for the one group measured."""
        scale, shift = (as_numpy(part)[0] for part in self._transfer(numbers, config))
        return partial(transfer_lab, scale=scale, shift=shift)

    def _transfer(self, numbers: tuple[Array, ...], config: StainConfig) -> tuple[Array, Array]:
        """Factor (G, 3) on L*, a*, b*, and what is added then."""
        mean_G3, spread_G3 = numbers
        xp = array_namespace(mean_G3)
        wanted = like(self.spread, spread_G3)
        scale = xp.clip(wanted / spread_G3, 1 / config.max_gain, config.max_gain)
        return scale, like(self.mean, mean_G3) - mean_G3 * scale
