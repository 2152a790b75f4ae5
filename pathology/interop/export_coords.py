"""Coordinates files for TRIDENT and for CLAM, each with our own facts beside theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pathology.core.errors import ConfigError
from pathology.interop.h5_coords import Attribute, write_coords
from pathology.interop.tile_facts import TileFacts, nominal_magnification

Layout = Literal["mpp", "trident"]
LAYOUTS: tuple[Layout, ...] = ("mpp", "trident")


def export_trident(facts: TileFacts, out: Path, layout: Layout = "mpp") -> Path:
    """Write OUT/<folder>/patches/<slide_id>_patches.h5, where TRIDENT looks for coordinates.

    layout  how the folder is named, see folder_name
    """
    path = out / folder_name(facts, layout) / "patches" / f"{facts.slide_id}_patches.h5"
    return write_coords(
        path, facts.l0_xy, {**trident_attributes(facts, str(path.parent)), **our_attributes(facts)}
    )


def export_clam(facts: TileFacts, out: Path) -> Path:
    """Write OUT/patches/<slide_id>.h5, where CLAM looks for coordinates."""
    path = out / "patches" / f"{facts.slide_id}.h5"
    return write_coords(
        path, facts.l0_xy, {**clam_attributes(facts, str(path.parent)), **our_attributes(facts)}
    )


def folder_name(facts: TileFacts, layout: Layout) -> str:
    """Folder of one way of tiling: by resolution, or as TRIDENT names it, by magnification.

    0.5mpp_256px_0px_overlap, or 20x_256px_0px_overlap. Raises ConfigError for another layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    if layout == "trident":
        scale = f"{nominal_magnification(facts.target_mpp)}x"
    else:
        scale = f"{facts.target_mpp:g}mpp"
    return f"{scale}_{facts.size_px}px_{facts.overlap_px}px_overlap"


def trident_attributes(facts: TileFacts, folder: str) -> dict[str, Attribute]:
    """What TRIDENT writes on its coordinates.

    TRIDENT reads a square of patch_size x level0_magnification / target_magnification level-0
    pixels. So that it reads our square to the pixel, target_magnification is the number that
    makes this ratio true: 20 where scanner and target fit (0.25 and 0.5 um/px), else a fraction
    such as 19.39. patch_size_level0 is the true edge.
    """
    level0 = nominal_magnification(sum(facts.mpp) / 2)
    target = level0 * facts.size_px / facts.l0_edge
    return {
        "patch_size": facts.size_px,
        "patch_size_level0": facts.l0_edge,
        "level0_magnification": level0,
        "target_magnification": int(target) if target.is_integer() else target,
        "overlap": facts.overlap_px,
        "name": facts.slide_id,
        "savetodir": folder,
        "level0_width": facts.l0_slide[0],
        "level0_height": facts.l0_slide[1],
    }


def clam_attributes(facts: TileFacts, folder: str) -> dict[str, Attribute]:
    """What CLAM writes on its coordinates; CLAM reads patch_size pixels of patch_level.

    patch_size is therefore what we read before scaling, and may differ from the tile's own size.
    """
    downsample = _level_downsample(facts)
    level_dim = (round(facts.l0_slide[0] / downsample), round(facts.l0_slide[1] / downsample))
    return {
        "patch_size": facts.read_edge,
        "patch_level": facts.level,
        "downsample": (downsample, downsample),
        "downsampled_level_dim": level_dim,
        "level_dim": level_dim,
        "name": facts.slide_id,
        "save_path": folder,
    }


def our_attributes(facts: TileFacts) -> dict[str, Attribute]:
    """What neither of them says, and what makes a file of ours exact to read back."""
    return {
        "mpp": sum(facts.mpp) / 2,
        "mpp_source": facts.mpp_source,
        "target_mpp": facts.target_mpp,
        "achieved_mpp": sum(facts.achieved_mpp) / 2,
        "tile_size_px": facts.size_px,
        "l0_tile_size": facts.l0_tile_size,
        "l0_size": facts.l0_slide,
        "l0_offset": facts.l0_offset,
        "read_level": facts.level,
        "read_size": facts.read_size,
        "tissue_method": facts.tissue_method,
        "code_version": facts.version,
        "fingerprint": facts.fingerprint,
        "config_sha256": facts.config_sha256,
        "complete": 1,
    }


def _level_downsample(facts: TileFacts) -> float:
    """Level-0 pixels a pixel of the level that was read, from the tile's size in both."""
    if facts.level == 0:
        return 1.0
    ratio = facts.l0_edge / facts.read_edge
    is_whole = abs(ratio - round(ratio)) * facts.read_edge <= 1
    return float(round(ratio)) if is_whole else ratio
