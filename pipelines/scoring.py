"""Tiles of one slide after the other through a classifier, read ahead across slides' borders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.core.errors import PathologyError, reason_of
from pathology.data.ahead import ahead
from pathology.interop.h5_features import read_features, read_rows
from pathology.models.encode import to_images
from pathology.slides.jpeg import DamagedJpeg
from pathology.tiling.store import open_tiles
from pathology.weak.predict import score_bag
from pipelines.classifier import Classifier
from pipelines.weak_data import block_of
from pipelines.weak_inputs import TiledSlide

FAULTS = (PathologyError, OSError, DamagedJpeg, KeyError, ValueError)  # of a store, or a disk
AHEAD = 4  # blocks that wait for the network


@dataclass
class Spent:
    """Where the seconds of a prediction went.

    read       that the network waited for tiles, which threads read and decode
    transform  making images of them
    network    the rest of what it took to score them
    """

    num_tiles: int = 0
    read: float = 0.0
    transform: float = 0.0
    network: float = 0.0

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.read + self.transform + self.network

    def line(self) -> str:
        """For people."""
        shares = (f"{name} {getattr(self, name) / max(self.total, 1e-9):.0%}"
                  for name in ("read", "transform", "network"))  # fmt: skip
        rate = self.num_tiles / max(self.total, 1e-9)
        return f"{self.num_tiles:,} tiles at {rate:,.0f} tiles/s: {', '.join(shares)}"


@dataclass(frozen=True, eq=False)
class Scored:
    """Probabilities (N, C) of a slide's tiles; or a problem.

    own_C  those of the slide by the method itself, where it has an answer to slides
    """

    slide: TiledSlide
    tile_NC: NDArray[np.float64] | None = None
    own_C: NDArray[np.float64] | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some tiles of a slide: pixels, features or maps."""

    slide: TiledSlide
    rows: NDArray[np.int64]
    is_last: bool


_Read = tuple[_Piece, NDArray[Any] | None, str]  # tiles or features, or a fault


@dataclass
class Scoring:
    """A classifier and the threads that read for it.

    on_tiles  told how many tiles were scored, as it goes
    spent     grows as slides are scored
    """

    classifier: Classifier
    pool: ThreadPoolExecutor
    on_tiles: Callable[[int], None] = lambda num: None
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self._open = lru_cache(maxsize=2)(open_tiles)  # a slide's end and the next one's start

    def __call__(self, slides: Sequence[TiledSlide]) -> Iterator[Scored]:
        """The scores of each slide in turn; one that cannot be read costs itself."""
        parts: list[Tensor] = []
        problem, waited = "", time.perf_counter()
        for block in ahead(self.pool, self._read, self._blocks(slides), AHEAD):
            self.spent.read += time.perf_counter() - waited
            for piece, features, fault in self._encoded(block):
                problem = problem or fault
                if features is not None:
                    parts.append(features)
                    self.on_tiles(len(features))
                if piece.is_last:
                    yield self._finish(piece.slide, parts, problem)
                    parts, problem = [], ""
            waited = time.perf_counter()

    def _blocks(self, slides: Sequence[TiledSlide]) -> Iterator[list[_Piece]]:
        """Pieces that go through the encoder together: many pictures of a tile each are one block.

        Where features are given, a slide is a block.
        """
        if self.classifier.model.encoder is None:
            for slide in slides:
                yield [_Piece(slide, np.arange(slide.num_tiles), is_last=True)]
            return
        size = block_of(self.classifier.device)
        block: list[_Piece] = []
        room = size
        for slide in slides:
            start = 0
            while start < slide.num_tiles:
                stop = min(start + room, slide.num_tiles)
                block.append(_Piece(slide, np.arange(start, stop), stop == slide.num_tiles))
                room -= stop - start
                start = stop
                if not room:
                    yield block
                    block, room = [], size
        if block:
            yield block

    def _read(self, block: list[_Piece]) -> list[_Read]:
        """Bytes of the pieces' tiles, or their features; in a thread. A fault costs its slide."""
        return [(piece, *self._tiles(piece)) for piece in block]

    def _tiles(self, piece: _Piece) -> tuple[NDArray[Any] | None, str]:
        try:
            if self.classifier.model.encoder is None:
                return read_features(piece.slide.path).features_NF, ""
            if self.classifier.is_of_maps:
                rows = slice(int(piece.rows[0]), int(piece.rows[-1]) + 1)
                return read_rows(piece.slide.path, rows), ""
            return self._open(piece.slide.path).read(piece.rows), ""
        except FAULTS as fault:
            return None, reason_of(fault)

    def _encoded(self, block: list[_Read]) -> list[tuple[_Piece, Tensor | None, str]]:
        """The pieces' features, made of all of their tiles at once."""
        sound = [tiles for _, tiles, _ in block if tiles is not None]
        every = iter(torch.split(self._features(sound), list(map(len, sound))) if sound else ())
        return [
            (piece, None if tiles is None else next(every), fault) for piece, tiles, fault in block
        ]

    @torch.inference_mode()
    def _features(self, tiles: list[NDArray[Any]]) -> Tensor:
        """Features on the CPU, so that a GPU is waited for, and what it took is known."""
        classifier, start = self.classifier, time.perf_counter()
        encoder = classifier.model.encoder
        if encoder is None:
            return torch.from_numpy(np.concatenate(tiles))
        given = np.concatenate(tiles)
        if classifier.is_of_maps:
            images = torch.from_numpy(given).to(classifier.device)
        else:
            images = to_images(given, classifier.device, classifier.card.tiles.encoder_px)
        made = time.perf_counter()
        features: Tensor = encoder(images).float().cpu()
        self.spent.transform += made - start
        self.spent.network += time.perf_counter() - made
        return features

    def _finish(self, slide: TiledSlide, parts: list[Tensor], problem: str) -> Scored:
        if problem:
            return Scored(slide, problem=problem)
        start = time.perf_counter()
        try:
            features = torch.cat(parts).to(self.classifier.device)
            found = score_bag(self.classifier.model, features)
        except FAULTS as fault:
            return Scored(slide, problem=reason_of(fault))
        self.spent.num_tiles += slide.num_tiles
        self.spent.network += time.perf_counter() - start
        own_C = found.slide_C if self.classifier.has_own_answer else None
        return Scored(slide, found.tile_NC, own_C)
