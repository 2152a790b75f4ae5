from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathology.tiling.config import TilingConfig
from pathology.tiling.store import TileStore, TileWriter, encode_tile, open_tiles

MakeStore = Callable[..., TileStore]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Builds a store of 64 px tiles as tiling writes it: 40x slide, read at level 1."""

    def make(
        slide_id: str = "slide_1",
        *,
        num_tiles: int = 5,
        mpp: tuple[float, float] = (0.25, 0.25),
        bounds: list[int] | None = None,
        encoding: str = "jpeg",
        has_pixels: bool = True,
        l0_edge: int = 128,
        level: int = 1,
        read_edge: int = 64,
    ) -> TileStore:
        config = TilingConfig.model_validate(
            {
                "tile": {"size_px": 64, "mpp": 0.5, "stride_px": 48},
                "store": {"encoding": encoding, "tiles_per_shard": 3},
            }
        )
        path = tmp_path / "run" / "tiles" / f"{slide_id}.zarr"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        l0_xy = rng.integers(0, 4000, (num_tiles, 2)).astype(np.int64)
        writer = TileWriter(path, 64, config.store)
        if has_pixels:
            tiles = rng.integers(0, 255, (num_tiles, 64, 64, 3)).astype(np.uint8)
            writer.add([encode_tile(tile, config.store) for tile in tiles])
        writer.flush()
        columns: dict[str, Any] = {
            "l0_xy": l0_xy,
            "tissue_fraction": np.linspace(0.5, 1, num_tiles, dtype=np.float32),
        }
        attributes = {
            "slide_id": slide_id,
            "fingerprint": "0123456789ab",
            "config": config.model_dump(mode="json"),
            "slide": {
                "l0_size": [8000, 6000],
                "mpp": list(mpp),
                "mpp_source": "slide",
                "l0_bounds": bounds,
                "properties": {},
            },
            "plan": {
                "level": level,
                "reduction": 1,
                "read_px": [read_edge, read_edge],
                "l0_tile_size": [l0_edge, l0_edge],
                "achieved_mpp": [0.5, 0.5],
            },
            "version": "0.1.0",
        }
        writer.finish(columns, attributes, has_pixels=has_pixels)
        return open_tiles(path)

    return make
