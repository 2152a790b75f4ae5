"""The descriptions of a zarr v3 group and its arrays, as the specification words them.

A store is described with these few lines and not through the zarr library, which takes a third of
a second to load: more than finding all tiles of a slide. The tests open every kind of store with
the library itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LITTLE_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}
INDEX_CODECS = [LITTLE_ENDIAN, {"name": "crc32c"}]


def write_group(path: Path, attributes: Mapping[str, Any]) -> None:
    """Describe a group with its attributes in path/zarr.json."""
    _write(path, {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)})


def write_column(
    path: Path, values: NDArray[Any], attributes: Mapping[str, Any] | None = None
) -> None:
    """Write an array of numbers as one uncompressed chunk below path."""
    chunk_shape = [max(1, size) for size in values.shape]
    said = describe(values.shape, chunk_shape, str(values.dtype), [LITTLE_ENDIAN])
    _write(path, {**said, "attributes": dict(attributes or {})})
    if values.size:
        chunk = path.joinpath("c", *("0" for _ in values.shape))
        chunk.parent.mkdir(parents=True)
        chunk.write_bytes(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())


def read_column(path: Path) -> NDArray[Any]:
    """The array that write_column wrote."""
    said = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    shape, kind = tuple(said["shape"]), np.dtype(said["data_type"]).newbyteorder("<")
    if 0 in shape:
        return np.zeros(shape, kind.newbyteorder("="))
    data = path.joinpath("c", *("0" for _ in shape)).read_bytes()
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


def column_attributes(path: Path) -> dict[str, Any]:
    """The attributes of an array that write_column wrote; none where there is no such array."""
    try:
        said = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(said.get("attributes", {}))


def write_sharded(
    path: Path,
    num_tiles: int,
    size_px: int,
    tiles_per_shard: int,
    codecs: Sequence[Mapping[str, Any]],
) -> None:
    """Describe tiles (num_tiles, size_px, size_px, 3) whose shards lie below path/c."""
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, size_px, size_px, 3],
            "codecs": list(codecs),
            "index_codecs": INDEX_CODECS,
            "index_location": "end",
        },
    }
    shape = (num_tiles, size_px, size_px, 3)
    said = describe(shape, [tiles_per_shard, *shape[1:]], "uint8", [sharding])
    _write(path, {**said, "dimension_names": ["tile", "y", "x", "channel"]})


def describe(
    shape: Sequence[int], chunk_shape: Sequence[int], data_type: str, codecs: Sequence[Any]
) -> dict[str, Any]:
    """The metadata document of an array."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0 if data_type.startswith("float") else 0,
        "codecs": list(codecs),
        "attributes": {},
    }


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "zarr.json").write_text(json.dumps(document), encoding="utf-8")
