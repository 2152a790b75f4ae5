"""Where tiles lie on their slides, whether a store or a file of features says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import SlideError
from pathology.interop.h5_features import read_corners
from pathology.interop.tile_facts import facts_of_store
from pathology.tiling.store import open_tiles
from pipelines.flat_pictures import IS_PICTURE, is_of_picture
from pipelines.tile_truth import has_truth, require_truth, truth_of_tiles
from pipelines.weak_inputs import TiledSlide


@dataclass(frozen=True, eq=False)
class Places:
    """Corners (N, 2) in level-0 pixels, edge of a tile and size of the slide in the same.

    l0_offset  corner of the scanned bounds
    mpp        microns per pixel of level 0; None: not known
    is_picture whether the slide is a flat picture
    """

    l0_xy: NDArray[np.int64]
    l0_edge: int
    l0_size: tuple[int, int]
    l0_offset: tuple[int, int] = (0, 0)
    mpp: float | None = None
    is_picture: bool = False


def places_of(slide: TiledSlide) -> Places:
    """Where a slide's tiles lie. Raises SlideError where its file of features does not say."""
    if slide.path.suffix != ".h5":
        store = open_tiles(slide.path)
        facts = facts_of_store(store)
        return Places(
            facts.l0_xy, facts.l0_edge, facts.l0_slide, facts.l0_offset, sum(facts.mpp) / 2,
            is_of_picture(store.attributes),
        )  # fmt: skip
    l0_xy, said = read_corners(slide.path)
    edge = said.get("patch_size_level0") or said.get("patch_size")
    width, height = said.get("level0_width", 0), said.get("level0_height", 0)
    if l0_xy is None or not edge:
        raise SlideError(
            slide.record.slide_id,
            "its file of features does not say where tiles lie",
            "Extract them with 'pathology features'",
        )
    x, y = said.get("l0_offset", (0, 0))
    offset, spacing = (int(x), int(y)), _l0_mpp(said, int(edge))
    is_flat = bool(said.get(IS_PICTURE, False))
    return Places(l0_xy, int(edge), (int(width), int(height)), offset, spacing, is_flat)


def _l0_mpp(said: Mapping[str, Any], l0_edge: int) -> float | None:
    """Microns per pixel of level 0, stated or by the size of the tiles; None: not known."""
    if said.get("mpp"):
        return float(said["mpp"])
    tile_mpp, size_px = said.get("achieved_mpp"), said.get("tile_size_px")
    return float(tile_mpp) * float(size_px) / l0_edge if tile_mpp and size_px else None


def truth_of_slides(
    slides: Sequence[TiledSlide], root: Path, grades: Sequence[str]
) -> NDArray[np.int64]:
    """Grades of all tiles of these slides, one slide after the other; -1 where nobody knows.

    Raises ArtifactError where the manifest names no map of grades at all, SlideError for a map that
    cannot be used.
    """
    require_truth([slide.record for slide in slides])
    found = []
    for slide in slides:
        if has_truth(slide.record):
            at = places_of(slide)
            size = at.l0_edge, at.l0_size
            found.append(truth_of_tiles(slide.record, at.l0_xy, *size, root, grades))
        else:
            found.append(np.full(slide.num_tiles, -1, np.int64))
    return np.concatenate(found)
