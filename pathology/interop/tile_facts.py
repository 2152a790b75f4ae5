"""What a tile store says of its tiles, in the words that exporters need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.slides.plan import Pair
from pathology.tiling.store import TileStore

MAGNIFICATIONS = (1, 2, 5, 10, 20, 40, 60, 80, 100)
UM_PER_PX_AT_1X = 10.0  # 40x is about 0.25 um/px, 20x about 0.5


@dataclass(frozen=True, kw_only=True)
class TileFacts:
    """The tiles of one slide, for other programs.

    l0_xy         corners (N, 2), in the order of the store
    l0_tile_size  (width, height) of the square that became a tile
    l0_offset     corner of the scanned bounds, which QuPath counts from
    mpp           (x, y) of level 0; achieved_mpp (x, y) of the finished tile
    level         stored resolution that was read; read_size (width, height) in its pixels
    overlap_px    shared by neighbours, in tile pixels
    measurements  one number a tile, by name
    """

    slide_id: str
    l0_xy: NDArray[np.int64]
    l0_slide: Pair
    l0_tile_size: Pair
    l0_offset: Pair
    mpp: tuple[float, float]
    mpp_source: str
    target_mpp: float
    achieved_mpp: tuple[float, float]
    level: int
    read_size: Pair
    size_px: int
    overlap_px: int
    tissue_method: str
    fingerprint: str
    config_sha256: str
    version: str
    measurements: Mapping[str, NDArray[Any]]

    @property
    def l0_edge(self) -> int:
        """Edge of the tile in level-0 pixels, for programs that know squares only."""
        return round(sum(self.l0_tile_size) / 2)

    @property
    def read_edge(self) -> int:
        """Edge of the tile in pixels of the level that was read, likewise."""
        return round(sum(self.read_size) / 2)


def facts_of_store(store: TileStore) -> TileFacts:
    """The facts of an open store. Raises ArtifactError where it was not written by tiling."""
    said = store.attributes
    try:
        slide, plan, config = said["slide"], said["plan"], said["config"]
        tile = config["tile"]
        return TileFacts(
            slide_id=_safe_id(said["slide_id"]),
            l0_xy=np.asarray(store.l0_xy, np.int64),
            l0_slide=_pair(slide["l0_size"]),
            l0_tile_size=_pair(plan["l0_tile_size"]),
            l0_offset=_pair((slide.get("l0_bounds") or (0, 0))[:2]),
            mpp=(float(slide["mpp"][0]), float(slide["mpp"][1])),
            mpp_source=str(slide["mpp_source"]),
            target_mpp=float(tile["mpp"]),
            achieved_mpp=(float(plan["achieved_mpp"][0]), float(plan["achieved_mpp"][1])),
            level=int(plan["level"]),
            read_size=_pair([px * plan["reduction"] for px in plan["read_px"]]),
            size_px=int(said["size_px"]),
            overlap_px=max(0, tile["size_px"] - (tile["stride_px"] or tile["size_px"])),
            tissue_method=str(config["tissue"]["method"]),
            fingerprint=str(said["fingerprint"]),
            config_sha256=hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
            version=str(said["version"]),
            measurements=_measurements(store),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{store.path}: its attributes are incomplete ({error!r}): tile the slide again"
        ) from error


def nominal_magnification(mpp: float) -> int:
    """The objective that people would name for a resolution, by ratio the nearest usual one.

    >>> [nominal_magnification(mpp) for mpp in (0.2425, 0.25, 0.499, 1.0)]
    [40, 40, 20, 10]
    """
    exact = UM_PER_PX_AT_1X / mpp
    return min(MAGNIFICATIONS, key=lambda usual: max(usual / exact, exact / usual))


def _safe_id(slide_id: Any) -> str:
    """The id, which names the files that exporters write."""
    if not isinstance(slide_id, str) or Path(slide_id).name != slide_id:
        raise ValueError(f"slide_id {slide_id!r} cannot be a file name")
    return slide_id


def _pair(values: Any) -> Pair:
    x, y = values
    return int(x), int(y)


def _measurements(store: TileStore) -> dict[str, NDArray[Any]]:
    return {
        name: values
        for name, values in store.columns.items()
        if values.ndim == 1 and len(values) == len(store) and values.dtype.kind in "fiu"
    }
