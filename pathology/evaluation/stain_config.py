"""Settings of the evaluation of stain normalization."""

from __future__ import annotations

from pydantic import Field

from pathology.core.config import StageConfig
from pathology.stain.config import StainConfig


class FlagConfig(StageConfig):
    """Limits beyond which a slide is flagged for a look by eye.

    min_structure_ssim   SSIM of luminance against the source
    min_gradient         correlation of luminance gradients with the source
    max_nuclei_changed   share of nuclei lost, or invented, of those before
    min_nuclei           below which nuclei say nothing
    max_passed_share     of the tiles, passed through unchanged
    max_angle_growth     degrees by which a stain vector may move away from the target's
    max_distance_growth  L*a*b* units by which the colors may move away from the target's
    max_seam_growth      by which the seam ratio may grow over that of the source, as a factor
    max_offset_growth    likewise for the offset ratio, which varies more from border to border
    """

    min_structure_ssim: float = Field(default=0.85, ge=0, le=1)
    min_gradient: float = Field(default=0.9, ge=0, le=1)
    max_nuclei_changed: float = Field(default=0.15, ge=0, le=1)
    min_nuclei: int = Field(default=20, ge=1)
    max_passed_share: float = Field(default=0.2, ge=0, le=1)
    max_angle_growth: float = Field(default=1.0, ge=0, le=90)
    max_distance_growth: float = Field(default=2.0, ge=0)
    max_seam_growth: float = Field(default=1.1, ge=1)
    max_offset_growth: float = Field(default=1.5, ge=1)


class StainEvaluationConfig(StageConfig):
    """All settings of an evaluation.

    stain               of the normalizers, and of the stain vectors that are measured
    size_px             edge of a tile, where SOURCE is not tiled yet
    tiles_per_slide     tiles of a slide that are rendered and measured
    borders_per_slide   borders between neighboring tiles that are looked at for seams
    nucleus_um          usual diameter of a nucleus
    assume_mpp          microns per pixel of slides and pictures that state none
    num_resamples, seed of the bootstrap
    flags               which slides deserve a look
    """

    stain: StainConfig = StainConfig()
    size_px: int = Field(default=256, ge=32, le=4096)
    tiles_per_slide: int = Field(default=24, ge=1, le=4096)
    borders_per_slide: int = Field(default=24, ge=0, le=4096)
    nucleus_um: float = Field(default=7.0, gt=0, le=50)
    assume_mpp: float | None = Field(default=None, gt=0, le=10)
    num_resamples: int = Field(default=2000, ge=100)
    seed: int = Field(default=0, ge=0)
    flags: FlagConfig = FlagConfig()
