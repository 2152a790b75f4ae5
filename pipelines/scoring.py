"""Tiles of one slide after the other through a classifier, read ahead across slides' borders."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.core.errors import PathologyError, reason_of
from pathology.data.ahead import ahead
from pathology.interop.h5_features import read_features
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
    """Probabilities (N, C) of a slide's tiles; or a problem."""

    slide: TiledSlide
    tile_NC: NDArray[np.float64] | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some tiles of a slide: pixels, or features."""

    slide: TiledSlide
    rows: NDArray[np.int64]
    is_last: bool


@dataclass
class Scoring:
    """A classifier and the threads that read for it.

    spent  grows as slides are scored
    """

    classifier: Classifier
    pool: ThreadPoolExecutor
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self._open = lru_cache(maxsize=2)(open_tiles)  # a slide's end and the next one's start

    def __call__(self, slides: Sequence[TiledSlide]) -> Iterator[Scored]:
        """The scores of each slide in turn; one that cannot be read costs itself."""
        parts: list[Tensor] = []
        problem, waited = "", time.perf_counter()
        for piece, tiles, fault in ahead(self.pool, self._read, self._pieces(slides), AHEAD):
            self.spent.read += time.perf_counter() - waited
            problem = problem or fault
            if tiles is not None and not problem:
                parts.append(self._features(tiles))
            if piece.is_last:
                yield self._finish(piece.slide, parts, problem)
                parts, problem = [], ""
            waited = time.perf_counter()

    def _pieces(self, slides: Sequence[TiledSlide]) -> Iterator[_Piece]:
        has_encoder = self.classifier.model.encoder is not None
        for slide in slides:
            block = block_of(self.classifier.device) if has_encoder else slide.num_tiles
            for start in range(0, slide.num_tiles, block):
                stop = min(start + block, slide.num_tiles)
                yield _Piece(slide, np.arange(start, stop), stop == slide.num_tiles)

    def _read(self, piece: _Piece) -> tuple[_Piece, NDArray[np.generic] | None, str]:
        """Bytes of a piece's tiles, or their features; in a thread."""
        try:
            if self.classifier.model.encoder is None:
                return piece, read_features(piece.slide.path).features_NF, ""
            return piece, self._open(piece.slide.path).read(piece.rows), ""
        except FAULTS as fault:
            return piece, None, reason_of(fault)

    @torch.inference_mode()
    def _features(self, tiles: NDArray[np.generic]) -> Tensor:
        """Features of a piece; on the CPU, so that a GPU is waited for, and what it took known."""
        classifier, start = self.classifier, time.perf_counter()
        encoder = classifier.model.encoder
        if encoder is None:
            return torch.from_numpy(tiles)
        images = to_images(
            np.asarray(tiles, np.uint8), classifier.device, classifier.card.tiles.encoder_px
        )
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
            tile_NC = score_bag(self.classifier.model, features).tile_NC
        except FAULTS as fault:
            return Scored(slide, problem=reason_of(fault))
        self.spent.num_tiles += slide.num_tiles
        self.spent.network += time.perf_counter() - start
        return Scored(slide, tile_NC)
