"""Settings of the stain stage."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from pathology.core.config import StageConfig

Method = Literal["none", "reinhard", "macenko", "vahadane", "histogram"]
Quality = Literal["teacher", "student", "lut"]
# settings that a learned model has no use for
CLASSICAL_ONLY = (
    "per_tile", "angle_percentile", "min_angle", "max_gain", "residual", "sparsity",
)  # fmt: skip


def is_classical(method: str) -> bool:
    """Whether a model of this method is no network, which could be rendered in several qualities.

    >>> is_classical("macenko"), is_classical("conditional")
    (True, False)
    """
    return method in get_args(Method)


class StainConfig(StageConfig):
    """Settings of stain normalization.

    method               what `fit` fits, and what is done where no model is named; a model file
                         brings its own method along
    quality              of a learned model: teacher is the generator itself, student its small
                         distilled network, lut the student as one table of colors for the slide
    per_tile             measure each tile by itself and not the slide (classical methods)
    white_level          intensity of empty glass; None measures it on each slide
    min_od               mean optical density above which a pixel is stained (Macenko's beta)
    angle_percentile     robust extreme of the stain directions (Macenko's alpha)
    min_angle            degrees between H and E below which a slide counts as singly stained
    max_gain             most by which a stain, or the spread of a color, may be changed (not by
                         histogram)
    residual             share of what neither stain explains that is carried over: 1 keeps
                         pigment and ink, 0 renders the two stains alone, as the papers do
    sparsity             weight of the L1 term of Vahadane's factorization
    num_sample_tiles     tiles of a slide looked at for the fit
    num_sample_pixels    pixels of those tiles used for it
    min_stained_pixels   of the sample, below which there is no fit
    min_stained_fraction of a tile's pixels, below which the tile passes through
    """

    method: Method = "macenko"
    quality: Quality = "lut"
    per_tile: bool = False
    white_level: float | None = Field(default=None, ge=100, le=255)
    min_od: float = Field(default=0.15, gt=0, le=1)
    angle_percentile: float = Field(default=1.0, gt=0, lt=25)
    min_angle: float = Field(default=12.0, ge=1, le=60)
    max_gain: float = Field(default=4.0, ge=1, le=20)
    residual: float = Field(default=1.0, ge=0, le=1)
    sparsity: float = Field(default=0.1, ge=0, le=1)
    num_sample_tiles: int = Field(default=96, ge=1, le=4096)
    num_sample_pixels: int = Field(default=150_000, ge=1000, le=10_000_000)
    min_stained_pixels: int = Field(default=500, ge=50)
    min_stained_fraction: float = Field(default=0.02, ge=0, le=1)
