"""Physical sizes of tiles, in one place."""

from __future__ import annotations

from pydantic import Field

from pathology.core.config import StageConfig

MIN_MPP, MAX_MPP = 0.02, 10.0  # outside of this a value is a mistake; 100x on small pixels: 0.024


class TileSpec(StageConfig):
    """Square tiles of one physical size.

    size_px        edge of the stored tile, in tile pixels
    mpp            spacing of the stored tile, in microns per pixel
    stride_px      step between neighbours, in tile pixels; None means size_px, no overlap
    mpp_tolerance  a stored resolution this close to mpp, as a fraction, is taken as it is,
                   without resampling; the achieved mpp is recorded either way
    max_upsample   a slide coarser than mpp by more than this factor, and the tolerance, is refused
    """

    size_px: int = Field(default=256, ge=8, le=8192)
    mpp: float = Field(default=0.5, ge=MIN_MPP, le=100.0)
    stride_px: int | None = Field(default=None, ge=1)
    mpp_tolerance: float = Field(default=0.01, ge=0, le=0.2)
    max_upsample: float = Field(default=1.5, ge=1)

    @property
    def size_um(self) -> float:
        """Edge of the tile in microns."""
        return self.size_px * self.mpp

    @property
    def step_px(self) -> int:
        """Step between neighbouring tiles, in tile pixels."""
        return self.stride_px or self.size_px
