"""Tiles of many slides by one running number, read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathology.tiling.store import TileStore, open_tiles


@dataclass(frozen=True, eq=False)
class SlideTable:
    """The slides of a training and how many tiles each has; tiles are numbered through.

    slide_ids  (S,)
    grade_S    of each slide, from 0 (benign); -1 where it is not known
    num_S      tiles of each
    """

    slide_ids: tuple[str, ...]
    grade_S: NDArray[np.int64]
    num_S: NDArray[np.int64]

    @property
    def start_S(self) -> NDArray[np.int64]:
        """Number of the first tile of each slide."""
        return np.cumsum(self.num_S) - self.num_S

    @property
    def slide_N(self) -> NDArray[np.int64]:
        """Which slide each tile belongs to."""
        return np.repeat(np.arange(len(self.num_S)), self.num_S)

    @property
    def grade_N(self) -> NDArray[np.int64]:
        """Grade of each tile's slide."""
        return np.repeat(self.grade_S, self.num_S)

    def rows(self, slide: int) -> NDArray[np.int64]:
        """The numbers of the tiles of a slide."""
        start = int(self.start_S[slide])
        return np.arange(start, start + int(self.num_S[slide]))


class TileSource(Protocol):
    """Tiles by number: their features, or their pixels."""

    def __len__(self) -> int: ...
    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]: ...


class FeatureTiles:
    """Features (N, F) in one file that is mapped, not loaded: memory does not grow with slides.

    augmented  file of the features (n, K, F) of the first n tiles, each varied K times
    """

    def __init__(self, path: Path, augmented: Path | None = None) -> None:
        self.path, self.augmented = path, augmented
        self._features: NDArray[np.floating] = np.load(path, mmap_mode="r")
        self._augmented: NDArray[np.float16] | None = (
            None if augmented is None else np.load(augmented, mmap_mode="r")
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "augmented": self.augmented}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["augmented"])  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._features)

    def remove_files(self) -> None:
        """Remove what is mapped; who has it mapped still can read it."""
        for path in (self.path, self.augmented):
            if path is not None:
                path.unlink(missing_ok=True)

    @property
    def num_features(self) -> int:
        """F."""
        return int(self._features.shape[1])

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features (n, F) of some tiles."""
        return np.asarray(self._features[rows], np.float32)

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float32]:
        """Features (n, F) of some tiles, of each as it is or of one of its variations.

        With variations in a file, all tiles must be of those that it has.
        """
        found = self.read(rows)
        if self._augmented is not None:
            which = random.integers(-1, self._augmented.shape[1], len(rows))  # -1: as it is
            varied = which >= 0
            found[varied] = self._augmented[rows[varied], which[varied]]
        return found


class StoreTiles:
    """Pixels of the tiles of many stores. Holds paths; stores are opened when they are needed."""

    def __init__(self, paths: Sequence[Path], num_S: NDArray[np.int64]) -> None:
        self.paths, self.num_S = tuple(paths), np.asarray(num_S)
        self.end_S = np.cumsum(self.num_S)
        self._stores: dict[int, TileStore] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_stores": {}}

    def __len__(self) -> int:
        return int(self.end_S[-1]) if len(self.end_S) else 0

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels (n, size, size, 3) of some tiles."""
        slides = np.searchsorted(self.end_S, rows, side="right")
        places = rows - (self.end_S - self.num_S)[slides]
        tiles = [
            self._store(slide).read([place])[0]
            for slide, place in zip(slides.tolist(), places.tolist(), strict=True)
        ]
        return np.stack(tiles)

    def _store(self, slide: int) -> TileStore:
        if slide not in self._stores:
            self._stores[slide] = open_tiles(self.paths[slide])
        return self._stores[slide]
