"""Microns per pixel that a command is given: a number that a microscope can have."""

from __future__ import annotations

from pathology.core.errors import ConfigError
from pathology.core.geometry import MAX_MPP, MIN_MPP

MAX_TILE_MPP = 100.0  # tiles may be coarser than any scan: as tile.mpp


def require_mpp(value: float | None, option: str, most: float = MAX_MPP) -> None:
    """Raise ConfigError for what is not from MIN_MPP to most um/px, as NaN; None is not given.

    option  what the value was given by, for the message
    """
    if value is not None and not MIN_MPP <= value <= most:
        raise ConfigError(f"{option} {value:g}: must lie in {MIN_MPP:g}-{most:g} um/px")
