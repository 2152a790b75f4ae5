"""Where the tiles of a domain go while they are read: through an encoder, or into one file.

M tiles in all, n of one slide or picture, F features, K variations of each tile, R numbers in what
the first blocks of an encoder make of one.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pathology.core.errors import ArtifactError
from pathology.models.encode import FirstPart, encode
from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.slides.reader import Pixels

BLOCK = 256  # tiles that go through an encoder together, whatever slides they are of
Vary = Callable[[Tensor, np.random.Generator], Tensor]  # images (n, 3, H, W)
Values = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8]


class TileSink(Protocol):
    """Takes tiles slide by slide, and has what is learned from in the end."""

    def add(self, tiles_nHW3: Pixels) -> None: ...
    def values(self) -> Values: ...


class _InBlocks:
    """Tiles in full blocks: pictures of a tile or two are no burden."""

    def __init__(self, take: Callable[[Pixels], None]) -> None:
        self.take = take
        self._waiting: list[Pixels] = []
        self._num = 0

    def add(self, tiles_nHW3: Pixels) -> None:
        """Pass on the blocks that are full with these tiles."""
        self._waiting.append(tiles_nHW3)
        self._num += len(tiles_nHW3)
        if self._num >= BLOCK:
            self._pass(self._num // BLOCK * BLOCK)

    def end(self) -> None:
        """Pass on what is left."""
        if self._num:
            self._pass(self._num)

    def _pass(self, num: int) -> None:
        tiles = np.concatenate(self._waiting)
        self._waiting, self._num = [tiles[num:]], len(tiles) - num
        self.take(tiles[:num])


class FeatureSink:
    """Tiles through a frozen encoder."""

    def __init__(
        self, encoder: Encoder | OnnxEncoder, device: str, size_px: int | None = None
    ) -> None:
        self.encoder, self.device, self.size_px = encoder, device, size_px
        self._blocks = _InBlocks(self._encode)
        self._found: list[NDArray[np.float32]] = []

    def add(self, tiles_nHW3: Pixels) -> None:
        """Take the tiles of a slide."""
        self._blocks.add(tiles_nHW3)

    def values(self) -> NDArray[np.float32]:
        """Features (M, F) of all that was taken, in order."""
        self._blocks.end()
        return np.concatenate(self._found)

    def _encode(self, tiles_NHW3: Pixels) -> None:
        self._found.append(
            encode(self.encoder, tiles_NHW3, device=self.device, size_px=self.size_px)
        )


class MapSink:
    """Tiles, each as it is and varied, through the first blocks of an encoder and into a file.

    seed  of all variations: those of a block are the same at every run
    hide  what hides squares of tiles, which are then there in a second form
    """

    def __init__(
        self,
        path: Path,
        first: FirstPart,
        device: str,
        size_px: int | None,
        num_varied: int,
        vary: Vary,
        seed: tuple[int, int],
        hide: Vary | None = None,
    ) -> None:
        self.first, self.device, self.size_px = first, device, size_px
        self.num_varied, self.vary, self.hide, self.seed = num_varied, vary, hide, seed
        self._blocks, self._file, self._num = _InBlocks(self._encode), FileSink(path), 0

    def add(self, tiles_nHW3: Pixels) -> None:
        """Take the tiles of a slide."""
        self._blocks.add(tiles_nHW3)

    def values(self) -> NDArray[np.float16]:
        """Rows (M, 1 + K, R), those of tiles as they are first; mapped and not loaded.

        Rows (M, 2 (1 + K), R) where squares are hidden: the second half is of these.
        """
        self._blocks.end()
        return self._file.values()

    def _encode(self, tiles_NHW3: Pixels) -> None:
        each = [self._variation(number) for number in range(-1, self.num_varied)]
        if self.hide is not None:
            each += [self._hidden(number, self.hide) for number in range(-1, self.num_varied)]
        rows = [
            encode(self.first, tiles_NHW3, device=self.device, size_px=self.size_px, vary=vary)
            for vary in each
        ]
        with np.errstate(over="ignore"):
            rows_NKR = np.stack(rows, axis=1).astype(np.float16)
        if not np.isfinite(rows_NKR).all():
            raise ArtifactError(
                f"encoder {self.first.encoder.name!r} gives numbers before its last blocks that "
                "half precision does not hold: set augmented=0"
            )
        self._file.add(rows_NKR)
        self._num += 1

    def _variation(self, number: int) -> Callable[[Tensor], Tensor]:
        """Tiles as they are come before the first."""
        if number < 0:
            return lambda images: images
        random = np.random.default_rng([*self.seed, self._num, number])
        return lambda images: self.vary(images, random)

    def _hidden(self, number: int, hide: Vary) -> Callable[[Tensor], Tensor]:
        vary = self._variation(number)
        random = np.random.default_rng([*self.seed, self._num, 1 + number, 1])
        return lambda images: hide(vary(images), random)


class FileSink:
    """Tiles, or what was made of them, into a .npy file, so that memory does not grow with them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # and not cut short: an older one may still be mapped
        self.path = path
        self._num, self._kind = 0, np.dtype(np.uint8)
        self._shape: tuple[int, ...] = ()

    def add(self, tiles: NDArray[Any]) -> None:
        """Take the tiles (n, ...) of a slide, all of one shape."""
        if not self._num:
            self._shape, self._kind = tiles.shape[1:], tiles.dtype
            self.path.write_bytes(self._header())
        if tiles.shape[1:] != self._shape:
            raise ValueError(f"tiles of shape {tiles.shape[1:]} among others of {self._shape}")
        self._num += len(tiles)
        with self.path.open("ab") as stream:
            stream.write(np.ascontiguousarray(tiles).data)

    def values(self) -> NDArray[Any]:
        """(M, ...), all that was taken, mapped and not loaded."""
        with self.path.open("r+b") as stream:
            stream.write(self._header())  # as long as the first: numpy leaves room for the number
        mapped: NDArray[Any] = np.load(self.path, mmap_mode="r")
        return mapped

    def _header(self) -> bytes:
        shape, made = (self._num, *self._shape), BytesIO()
        kind = np.lib.format.dtype_to_descr(self._kind)
        header = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(made, header)
        return made.getvalue()
