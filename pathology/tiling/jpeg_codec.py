"""One JPEG stream a chunk, as a zarr v3 codec.

The name and settings are those of imagecodecs' own zarr codec, which appeared for Python 3.12 and
later: a store written here opens there with imagecodecs alone. Installing this project registers
the codec with zarr under that name, so zarr.open reads a store without importing anything else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON

from pathology.slides import jpeg

NAME = "imagecodecs_jpeg"


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodec):
    """Chunks (1, H, W, 3) of uint8 RGB as JPEG streams; level is their quality, 1 to 100."""

    level: int = 92
    subsampling: str = "444"
    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec that an array's metadata describes; settings of others' writers are ignored."""
        settings: Any = data.get("configuration") or {}
        known = {k: settings[k] for k in ("level", "subsampling") if settings.get(k) is not None}
        return cls(**known)

    def to_dict(self) -> dict[str, JSON]:
        """The codec as an array's metadata describes it."""
        return {
            "name": NAME,
            "configuration": {"level": self.level, "subsampling": self.subsampling},
        }

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Unknown before encoding, as for every compressor of this kind."""
        raise ValueError("the size of a JPEG stream is not known in advance")

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        _, height, width, _ = chunk_spec.shape
        stream = chunk_data.to_bytes()
        pixels = await asyncio.to_thread(jpeg.decode, stream, (width, height))
        return chunk_spec.prototype.nd_buffer.from_numpy_array(pixels[np.newaxis])

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        pixels = np.asarray(chunk_data.as_numpy_array(), np.uint8)[0]
        stream = await asyncio.to_thread(jpeg.encode, pixels, self.level, self.subsampling)
        return chunk_spec.prototype.buffer.from_bytes(stream)
