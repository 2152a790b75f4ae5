"""The tile store: one zarr v3 group a slide, its pixels in shards that one writer owns."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs
import zarr.registry
from numcodecs import Zstd
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.slides import jpeg
from pathology.tiling.config import StoreConfig
from pathology.tiling.jpeg_codec import NAME, JpegCodec
from pathology.tiling.shard import MISSING, build_shard, index_bytes, parse_index

SCHEMA = 1
ZSTD_LEVEL = 3

zarr.registry.register_codec(NAME, JpegCodec)


def encode_tile(pixels: NDArray[np.uint8], config: StoreConfig) -> bytes:
    """One tile (size, size, 3) as the store keeps it."""
    if config.encoding == "jpeg":
        return jpeg.encode(pixels, config.jpeg_quality, config.subsampling)
    return bytes(Zstd(level=ZSTD_LEVEL).encode(np.ascontiguousarray(pixels)))


class TileWriter:
    """Fills a new store at path, shard by shard, in the order tiles are added.

    Tiles arrive encoded. Nothing counts before finish, which writes the arrays' descriptions and
    the group's attributes last; readers ask for attributes["complete"].
    """

    def __init__(self, path: Path, size_px: int, config: StoreConfig) -> None:
        self.path, self.size_px, self.config = path, size_px, config
        self._waiting: list[bytes] = []
        self._shard_bytes: list[int] = []
        self.num_tiles = 0

    def add(self, encoded: Sequence[bytes]) -> None:
        """Append tiles; whole shards go to disk at once."""
        self._waiting.extend(encoded)
        self.num_tiles += len(encoded)
        places = self.config.tiles_per_shard
        while len(self._waiting) >= places:
            self._write_shard(self._waiting[:places])
            del self._waiting[:places]

    def finish(
        self,
        columns: Mapping[str, NDArray[Any]],
        attributes: Mapping[str, Any],
        *,
        has_pixels: bool,
    ) -> None:
        """Write everything but the pixels' bytes, which flush wrote.

        columns  arrays whose first axis is the tile, l0_xy among them
        """
        said = {
            **attributes,
            "schema": SCHEMA,
            "size_px": self.size_px,
            "shard_bytes": self._shard_bytes,
            "complete": True,
        }
        group = zarr.create_group(self.path, attributes=said)
        for name, values in columns.items():
            group.create_array(
                name, data=values, chunks=values.shape if len(values) else (1, *values.shape[1:])
            )
        if has_pixels:
            self._describe_pixels(group)

    def flush(self) -> None:
        """Write the last shard, which may not be full. Nothing can be added after it."""
        if self._waiting:
            self._write_shard(self._waiting)
            self._waiting = []

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards written so far."""
        return sum(self._shard_bytes)

    def _write_shard(self, chunks: Sequence[bytes]) -> None:
        data = build_shard(chunks, self.config.tiles_per_shard)
        folder = self.path / "pixels" / "c" / str(len(self._shard_bytes)) / "0" / "0"
        folder.mkdir(parents=True)
        (folder / "0").write_bytes(data)
        self._shard_bytes.append(len(data))

    def _describe_pixels(self, group: zarr.Group) -> None:
        edge, config = self.size_px, self.config
        is_jpeg = config.encoding == "jpeg"
        group.create_array(
            "pixels",
            shape=(self.num_tiles, edge, edge, 3),
            dtype=np.uint8,
            chunks=(1, edge, edge, 3),
            shards=(config.tiles_per_shard, edge, edge, 3),
            serializer=JpegCodec(config.jpeg_quality, config.subsampling) if is_jpeg else "auto",
            compressors=None if is_jpeg else zarr.codecs.ZstdCodec(level=ZSTD_LEVEL),
            fill_value=0,
            dimension_names=("tile", "y", "x", "channel"),
        )


class TileStore:
    """A finished store, for reading. Holds no open file, so it may cross to another process.

    l0_xy       (N, 2) level-0 corners
    attributes  all that was recorded: slide, plan, settings, counts
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attributes = read_attributes(path)
        group = zarr.open_group(path, mode="r")
        self.columns: dict[str, NDArray[Any]] = {
            name: np.asarray(array[...]) for name, array in group.arrays() if name != "pixels"
        }
        self.l0_xy: NDArray[np.int64] = self.columns["l0_xy"]
        self.has_pixels = "pixels" in group
        self.size_px = int(self.attributes["size_px"])
        self._config = StoreConfig.model_validate(self.attributes["config"]["store"])
        self._indices: dict[int, NDArray[np.uint64]] = {}

    def __len__(self) -> int:
        return len(self.l0_xy)

    def read(self, rows: Sequence[int] | NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """Tiles (n, size_px, size_px, 3) RGB of some rows.

        Goes straight to the bytes of each tile. Raises ArtifactError where there are no pixels.
        """
        if not self.has_pixels:
            raise ArtifactError(
                f"{self.path} holds coordinates only: tile without --coords-only to get pixels"
            )
        wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        tiles = np.empty((len(wanted), self.size_px, self.size_px, 3), np.uint8)
        for tile, row in zip(tiles, wanted.tolist(), strict=True):
            tile[:] = self._decode(self.encoded(row))
        return tiles

    def encoded(self, row: int) -> bytes:
        """One tile as it lies on disk: a JPEG stream, or Zstandard."""
        if not 0 <= row < len(self):
            raise IndexError(f"tile {row} of {len(self)}")
        shard, place = divmod(row, self._config.tiles_per_shard)
        file = os.open(self.path / "pixels" / "c" / str(shard) / "0" / "0" / "0", os.O_RDONLY)
        try:
            offset, length = self._index(file, shard)[place].tolist()
            if offset == MISSING:
                return b""
            return os.pread(file, length, offset)
        finally:
            os.close(file)

    def _index(self, file: int, shard: int) -> NDArray[np.uint64]:
        if shard not in self._indices:
            places = self._config.tiles_per_shard
            length = index_bytes(places)
            tail = os.pread(file, length, os.fstat(file).st_size - length)
            self._indices[shard] = parse_index(tail, places)
        return self._indices[shard]

    def _decode(self, data: bytes) -> NDArray[np.uint8]:
        edge = self.size_px
        if self._config.encoding == "jpeg":
            return jpeg.decode(data, (edge, edge))
        return np.frombuffer(Zstd().decode(data), np.uint8).reshape(edge, edge, 3)


def open_tiles(path: Path) -> TileStore:
    """A finished tile store. Raises ArtifactError where it is missing, unfinished or damaged."""
    return TileStore(path)


def read_attributes(path: Path) -> dict[str, Any]:
    """What a store says of itself, without opening its arrays. Raises ArtifactError."""
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not a tile store ({error})") from error
    if (
        not attributes.get("complete")
        or attributes.get("schema") != SCHEMA
        or "size_px" not in attributes
    ):
        raise ArtifactError(f"{path}: unfinished, or written by another version: tile again")
    for number, size in enumerate(attributes.get("shard_bytes", ())):
        shard = path / "pixels" / "c" / str(number) / "0" / "0" / "0"
        if not shard.is_file() or shard.stat().st_size != size:
            raise ArtifactError(f"{path}: shard {number} is missing or cut short: tile again")
    return dict(attributes)
