"""The bytes of a zarr v3 shard: chunks one after the other, then an index of where each lies.

Format: zarr specification, codec "sharding_indexed" 1.0: (offset, length) as little-endian
64-bit pairs at the end of the file, closed by the CRC32C of the index.
"""

from __future__ import annotations

from collections.abc import Sequence

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError

MISSING = np.uint64(2**64 - 1)  # offset and length of a chunk that was never written
CRC_BYTES = 4


def shard_index(lengths: Sequence[int], num_places: int) -> bytes:
    """What ends a shard whose first len(lengths) places hold chunks of these lengths."""
    index = np.full((num_places, 2), MISSING, "<u8")
    sizes = np.array(lengths, "<u8")
    index[: len(sizes), 0] = np.cumsum(sizes) - sizes
    index[: len(sizes), 1] = sizes
    packed = index.tobytes()
    crc: int = google_crc32c.value(packed)
    return packed + crc.to_bytes(CRC_BYTES, "little")


def index_bytes(num_places: int) -> int:
    """Length of the index, its checksum included, at the end of a shard."""
    return num_places * 16 + CRC_BYTES


def parse_index(tail: bytes, num_places: int) -> NDArray[np.uint64]:
    """(num_places, 2) offsets and lengths from the last index_bytes of a shard.

    Raises ArtifactError where the checksum does not hold.
    """
    packed, crc = tail[:-CRC_BYTES], tail[-CRC_BYTES:]
    if len(tail) != index_bytes(num_places) or google_crc32c.value(packed) != int.from_bytes(
        crc, "little"
    ):
        raise ArtifactError("the index of a shard is damaged: tile the slide again")
    return np.frombuffer(packed, "<u8").reshape(num_places, 2)
