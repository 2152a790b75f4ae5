"""A finished band of a slide on disk: encoded tiles of the fine levels, pixels for the coarse ones.

The tiles' bytes come first, then the pixels, then an index as JSON, then where the index begins in
eight bytes. A band appears whole or not at all, and carries the fingerprint of the slide it is of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pathology.stain.matrix import Pixels

PLACE_BYTES = 8


@dataclass
class BandIndex:
    """What lies where in a band's file.

    spans       by level, then row by row: where each tile begins and how many bytes it has
    rest        (rows, columns) of the pixels at its end, the band at the first level not encoded
    num_passed  tiles of the finest level that stayed as they are
    """

    fingerprint: str
    spans: list[list[tuple[int, int]]] = field(default_factory=list)
    rest: tuple[int, int] = (0, 0)
    num_passed: int = 0


class BandWriter:
    """Fills a band's file in any order of tiles.

    grids  (columns, rows) of the band's tiles at each level that is encoded
    """

    def __init__(self, path: Path, fingerprint: str, grids: list[tuple[int, int]]) -> None:
        self._stream = path.open("wb")
        self._grids = grids
        self.index = BandIndex(fingerprint, [[(0, 0)] * (w * h) for w, h in grids])

    def add(self, level: int, column: int, row: int, encoded: bytes) -> None:
        """Append one tile."""
        place = row * self._grids[level][0] + column
        self.index.spans[level][place] = (self._stream.tell(), len(encoded))
        self._stream.write(encoded)

    def finish(self, rest: Pixels) -> None:
        """Write the pixels (rows, columns, 3) and the index."""
        self.index.rest = (rest.shape[0], rest.shape[1])
        self._stream.write(rest.tobytes())
        place = self._stream.tell()
        self._stream.write(json.dumps(asdict(self.index)).encode())
        self._stream.write(place.to_bytes(PLACE_BYTES, "little"))

    def close(self) -> None:
        """Close the file, finished or not."""
        self._stream.close()


class BandFile:
    """A finished band, for reading; holds no open file."""

    def __init__(self, path: Path, index: BandIndex, index_place: int) -> None:
        self.path, self.index, self._index_place = path, index, index_place

    def tiles(self, level: int) -> Iterator[bytes]:
        """The encoded tiles of a level, row by row."""
        with self.path.open("rb") as stream:
            for start, length in self.index.spans[level]:
                stream.seek(start)
                yield stream.read(length)

    def rest(self) -> Pixels:
        """The band's pixels (rows, columns, 3) at the first level that is not encoded."""
        rows, columns = self.index.rest
        size = rows * columns * 3
        with self.path.open("rb") as stream:
            stream.seek(self._index_place - size)
            return np.frombuffer(stream.read(size), np.uint8).reshape(rows, columns, 3)


def open_band(path: Path, fingerprint: str) -> BandFile | None:
    """A band of the slide of this fingerprint; None where there is none, or it is damaged."""
    try:
        with path.open("rb") as stream:
            stream.seek(-PLACE_BYTES, 2)
            end = stream.tell()
            place = int.from_bytes(stream.read(PLACE_BYTES), "little")
            stream.seek(place)
            said: dict[str, Any] = json.loads(stream.read(end - place))
        index = BandIndex(**said)
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    return BandFile(path, index, place) if index.fingerprint == fingerprint else None
