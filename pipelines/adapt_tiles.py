"""Where the tiles of a domain go while they are read: through an encoder, or into one file.

M tiles in all, n of one slide or picture, F features.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pathology.models.encode import encode
from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.slides.reader import Pixels

BLOCK = 256  # tiles that go through an encoder together, whatever slides they are of
Values = NDArray[np.float32] | NDArray[np.uint8]


class TileSink(Protocol):
    """Takes tiles slide by slide, and has what is learned from in the end."""

    def add(self, tiles_nHW3: Pixels) -> None: ...
    def values(self) -> Values: ...


class FeatureSink:
    """Tiles through a frozen encoder, in full blocks: pictures of a tile or two are no burden."""

    def __init__(
        self, encoder: Encoder | OnnxEncoder, device: str, size_px: int | None = None
    ) -> None:
        self.encoder, self.device, self.size_px = encoder, device, size_px
        self._waiting: list[Pixels] = []
        self._num = 0
        self._found: list[NDArray[np.float32]] = []

    def add(self, tiles_nHW3: Pixels) -> None:
        """Take the tiles of a slide."""
        self._waiting.append(tiles_nHW3)
        self._num += len(tiles_nHW3)
        if self._num >= BLOCK:
            self._encode(self._num // BLOCK * BLOCK)

    def values(self) -> NDArray[np.float32]:
        """Features (M, F) of all that was taken, in order."""
        if self._num:
            self._encode(self._num)
        return np.concatenate(self._found)

    def _encode(self, num: int) -> None:
        tiles = np.concatenate(self._waiting)
        self._waiting, self._num = [tiles[num:]], len(tiles) - num
        self._found.append(
            encode(self.encoder, tiles[:num], device=self.device, size_px=self.size_px)
        )


class FileSink:
    """Tiles into a .npy file one after the other, so that memory does not grow with them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # and not cut short: an older one may still be mapped
        self.path = path
        self._num, self._shape = 0, (0, 0, 0)

    def add(self, tiles_nHW3: Pixels) -> None:
        """Take the tiles of a slide, all of one size."""
        height, width, channels = tiles_nHW3.shape[1:]
        if not self._num:
            self._shape = (height, width, channels)
            self.path.write_bytes(self._header())
        if self._shape != (height, width, channels):
            raise ValueError(f"tiles of {width} x {height} px among others of {self._shape[1]} px")
        self._num += len(tiles_nHW3)
        with self.path.open("ab") as stream:
            stream.write(np.ascontiguousarray(tiles_nHW3).tobytes())

    def values(self) -> NDArray[np.uint8]:
        """Pixels (M, H, W, 3) of all that was taken, mapped and not loaded."""
        with self.path.open("r+b") as stream:
            stream.write(self._header())  # as long as the first: numpy leaves room for the number
        mapped: NDArray[np.uint8] = np.load(self.path, mmap_mode="r")
        return mapped

    def _header(self) -> bytes:
        shape, made = (self._num, *self._shape), BytesIO()
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(made, header)
        return made.getvalue()
