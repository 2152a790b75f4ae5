"""What the frozen part of an encoder makes of tiles, kept on disk so that it is computed once.

Where the last blocks of an encoder learn, tiles are scored again after every epoch, and most of
that work would give what it gave before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SHARE = 0.5  # of the room that is left on the disk, which may be taken


class KeptMaps:
    """Maps of groups of tiles, in a file without a name: it is gone with the process.

    num_tiles  of all groups together; where there is no room for them, nothing is kept
    """

    def __init__(self, folder: Path, num_tiles: int) -> None:
        self.folder, self.num_tiles = folder, num_tiles
        self.file = -1  # its descriptor, once there is something to keep
        self.end = 0
        self.places: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        self.has_room: bool | None = None  # not known before the first map

    def __call__(self, group: int, make: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]:
        """Maps (n, ...) of a group's tiles, block by block, in float32.

        make  asked for them where they are not kept; it is to give the same whenever it is asked
        """
        if group in self.places:
            for place, shape in self.places[group]:
                yield self._read(place, shape)
            return
        places = []
        for maps in make():
            if self._keeps(maps):
                places.append((self.end, tuple(maps.shape)))
                self._append(maps)
            yield maps
        if self.has_room:
            self.places[group] = places

    def _keeps(self, maps: Tensor) -> bool:
        if self.has_room is None:
            needed = maps[0].numel() * maps.element_size() * self.num_tiles
            self.has_room = needed <= SHARE * shutil.disk_usage(self.folder).free
            if self.has_room:
                self._open()
        return self.has_room

    def _open(self) -> None:
        file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 (open as long as this lives)
        weakref.finalize(self, file.close)
        self.file = file.fileno()

    def _append(self, maps: Tensor) -> None:
        """Write a block at the end; a disk that is full after all ends the keeping alone."""
        block = np.ascontiguousarray(maps.numpy(), np.float32).data.cast("B")
        try:
            written = 0
            while written < len(block):
                written += os.pwrite(self.file, block[written:], self.end + written)
        except OSError:
            self.has_room = False
        self.end += len(block)

    def _read(self, place: int, shape: tuple[int, ...]) -> Tensor:
        block = torch.empty(shape)
        into = block.numpy().data.cast("B")
        done = 0
        while done < len(into):
            num = os.preadv(self.file, [into[done:]], place + done)
            if num == 0:
                raise EOFError(f"a file of maps in {self.folder} is shorter than what was written")
            done += num
        return block
