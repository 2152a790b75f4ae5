"""Tiles of one domain in memory, drawn so that every centre and every slide counts alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.slides.reader import Pixels


class Crops(NamedTuple):
    """Square pieces (B, crop, crop, 3) of tiles, turned and mirrored, and which tiles (B,)."""

    pixels_BHW3: Pixels
    tile_B: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TilePool:
    """Tiles (N, H, W, 3) with the slide (N,) and the centre (N,) of each, numbered from 0."""

    tiles_NHW3: Pixels
    slide_N: NDArray[np.int64]
    centre_N: NDArray[np.int64]

    @classmethod
    def of_slides(cls, slides: Sequence[Pixels], centres: Sequence[str]) -> TilePool:
        """A pool of each slide's tiles, with the name of its centre."""
        lengths = [len(tiles) for tiles in slides]
        names = sorted(set(centres))
        numbers = np.array([names.index(centre) for centre in centres], np.int64)
        slide = np.repeat(np.arange(len(slides)), lengths)
        return cls(np.concatenate(list(slides)), slide, numbers[slide])

    def __len__(self) -> int:
        return len(self.tiles_NHW3)

    def choose(self, random: np.random.Generator, num: int) -> NDArray[np.int64]:
        """Rows of num tiles: a centre first, one of its slides then, one of its tiles last."""
        slides_of, rows_of = self._members
        rows = []
        for centre in random.choice(np.array(list(slides_of)), num).tolist():
            slide = int(random.choice(slides_of[centre]))
            rows.append(random.choice(rows_of[slide]))
        return np.array(rows, np.int64)

    @cached_property
    def _members(self) -> tuple[dict[int, NDArray[np.int64]], dict[int, NDArray[np.int64]]]:
        """Slides of each centre, and rows of each slide."""
        order = np.argsort(self.slide_N, kind="stable")
        slides, starts = np.unique(self.slide_N[order], return_index=True)
        rows = np.split(order, starts[1:])
        home = self.centre_N[order[starts]]
        slides_of = {int(centre): slides[home == centre] for centre in np.unique(home)}
        return slides_of, dict(zip(slides.tolist(), rows, strict=True))

    def draw(self, random: np.random.Generator, num: int, crop_px: int) -> Crops:
        """Pieces of num tiles at random places, in one of their eight orientations."""
        rows = self.choose(random, num)
        height, width = self.tiles_NHW3.shape[1:3]
        pieces = np.empty((num, crop_px, crop_px, 3), np.uint8)
        for piece, row in zip(pieces, rows.tolist(), strict=True):
            top, left = random.integers(height - crop_px + 1), random.integers(width - crop_px + 1)
            cut = self.tiles_NHW3[row, top : top + crop_px, left : left + crop_px]
            cut = np.rot90(cut, int(random.integers(4)))
            piece[:] = cut[:, ::-1] if random.integers(2) else cut
        return Crops(pieces, rows)

    @property
    def digest(self) -> str:
        """Twelve hex digits of all pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.tiles_NHW3).data).hexdigest()[:12]
