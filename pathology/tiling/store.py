"""The tile store: one zarr v3 group a slide, its pixels in shards that one writer owns."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.slides import jpeg
from pathology.tiling.config import StoreConfig
from pathology.tiling.shard import MISSING, index_bytes, parse_index, shard_index
from pathology.tiling.zarr_text import (
    LITTLE_ENDIAN,
    read_column,
    write_column,
    write_group,
    write_sharded,
)

SCHEMA = 1
ZSTD_LEVEL = 3
ADDED_LATER = ("stain_matrix",)  # columns that a finished store is given by other stages


def encode_tile(pixels: NDArray[np.uint8], config: StoreConfig) -> bytes:
    """One tile (size, size, 3) as the store keeps it."""
    if config.encoding == "jpeg":
        return jpeg.encode(pixels, config.jpeg_quality, config.subsampling)
    return bytes(imagecodecs.zstd_encode(pixels.tobytes(), level=ZSTD_LEVEL))


def codecs_of(config: StoreConfig) -> list[dict[str, Any]]:
    """What a zarr reader must undo to get a tile's pixels."""
    if config.encoding == "jpeg":
        settings = {"level": config.jpeg_quality, "subsampling": config.subsampling}
        return [{"name": "imagecodecs_jpeg", "configuration": settings}]
    zstd = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
    return [LITTLE_ENDIAN, zstd]


class TileWriter:
    """Fills a new store at path, shard by shard, in the order tiles are added.

    Tiles arrive encoded. Nothing counts before finish, which writes the arrays' descriptions and
    the group's attributes last; readers ask for attributes["complete"].
    """

    def __init__(self, path: Path, size_px: int, config: StoreConfig) -> None:
        self.path, self.size_px, self.config = path, size_px, config
        self._lengths: list[int] = []  # of the tiles in the shard that is being filled
        self._shard_bytes: list[int] = []  # of the full shards
        self.num_tiles = 0

    def add(self, encoded: Sequence[bytes]) -> None:
        """Append tiles; they go to disk at once."""
        start = 0
        while start < len(encoded):
            room = self.config.tiles_per_shard - len(self._lengths)
            part = encoded[start : start + room]
            self._append(b"".join(part))
            self._lengths += map(len, part)
            start += len(part)
            if len(self._lengths) == self.config.tiles_per_shard:
                self.flush()
        self.num_tiles += len(encoded)

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
        for name, values in columns.items():
            write_column(self.path / name, values)
        if has_pixels:
            write_sharded(
                self.path / "pixels",
                self.num_tiles,
                self.size_px,
                self.config.tiles_per_shard,
                codecs_of(self.config),
            )
        write_group(self.path, said)

    def flush(self) -> None:
        """Close the shard that is being filled. Nothing can be added to it after that."""
        if self._lengths:
            index = shard_index(self._lengths, self.config.tiles_per_shard)
            self._append(index)
            self._shard_bytes.append(sum(self._lengths) + len(index))
            self._lengths = []

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards that are closed."""
        return sum(self._shard_bytes)

    def _append(self, data: bytes) -> None:
        shard = shard_path(self.path, len(self._shard_bytes))
        shard.parent.mkdir(parents=True, exist_ok=True)
        with shard.open("ab") as stream:
            stream.write(data)


def shard_path(store: Path, number: int) -> Path:
    """Where a shard of the pixels lies, by zarr's default naming of chunks."""
    return store / "pixels" / "c" / str(number) / "0" / "0" / "0"


class TileStore:
    """A finished store, for reading. Holds no open file, so it may cross to another process.

    l0_xy       (N, 2) level-0 corners
    attributes  all that was recorded: slide, plan, settings, counts
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attributes = read_attributes(path)
        self.columns = _columns(path)
        self.l0_xy: NDArray[np.int64] = self.columns["l0_xy"]
        self.has_pixels = (path / "pixels" / "zarr.json").is_file()
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
        file = os.open(shard_path(self.path, shard), os.O_RDONLY)
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
        return np.frombuffer(imagecodecs.zstd_decode(data), np.uint8).reshape(edge, edge, 3)


def open_tiles(path: Path) -> TileStore:
    """A finished tile store. Raises ArtifactError where it is missing, unfinished or damaged."""
    return TileStore(path)


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a store but its pixels. Raises ArtifactError for one that is damaged.

    Of those that were added later a damaged one is left out: whoever needs it makes it anew.
    """
    found: dict[str, NDArray[Any]] = {}
    for folder in sorted(path.iterdir()):
        if not folder.is_dir() or folder.name == "pixels":
            continue
        try:
            found[folder.name] = read_column(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if folder.name not in ADDED_LATER:
                raise ArtifactError(
                    f"{path}: {folder.name} is damaged ({error!r}): tile the slide again"
                ) from error
    return found


def read_attributes(path: Path) -> dict[str, Any]:
    """What a store says of itself, without opening its arrays. Raises ArtifactError."""
    try:
        said: dict[str, Any] = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        attributes = dict(said["attributes"])
        is_whole = attributes["complete"] is True and attributes["schema"] == SCHEMA
        sizes = list(attributes["shard_bytes"])
        int(attributes["size_px"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: not a tile store ({error!r}): tile the slide again"
        ) from error
    if not is_whole:
        raise ArtifactError(f"{path}: unfinished, or written by another version: tile again")
    for number, size in enumerate(sizes):
        shard = shard_path(path, number)
        if not shard.is_file() or shard.stat().st_size != size:
            raise ArtifactError(f"{path}: shard {number} is missing or cut short: tile again")
    return attributes
