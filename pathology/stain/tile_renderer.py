"""The tiles of a store rendered as parts of one picture: each sees what its neighbors show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import LooksAround, Rendered, SlideNormalizer
from pathology.stain.seams import NOBODY, neighbors, tiles_around
from pathology.tiling.store import TileStore

TILES_AT_ONCE = 16  # in one call of a normalizer, which learned models like
ROWS_AT_ONCE = 64  # that share what is read around them: 8 x 8 tiles lie together in a store
READ_PIXELS = ROWS_AT_ONCE << 16  # so many rows of 256 px; fewer of larger tiles


class TileRenderer:
    """Renders tiles of one store by a normalizer of its slide.

    What the normalizer looks at beyond a tile's edge comes from the tiles that lie there, and where
    the store has none, from the tile itself as in a mirror. A network that halves its images does
    so from each tile's corner, which is without a seam where size_px is a multiple of its
    multiple_px. Threads may share it.

    around_px     how far beyond a tile's edge is looked: the normalizer's margin_px, or as much of
                  it as a tile has
    rows_at_once  how many rows one call had best be given
    """

    def __init__(self, store: TileStore, normalizer: SlideNormalizer) -> None:
        self.store, self.normalizer = store, normalizer
        self.around_px, self.rows_at_once = 0, TILES_AT_ONCE
        if isinstance(normalizer, LooksAround) and normalizer.margin_px:
            multiple_px = int(getattr(normalizer, "multiple_px", 1))
            most_px = (store.size_px - 1) // multiple_px * multiple_px
            self.around_px = min(normalizer.margin_px, most_px)
            rows = min(ROWS_AT_ONCE, READ_PIXELS // store.size_px**2)
            self.rows_at_once = max(TILES_AT_ONCE, rows)
            self._around_N33 = _around(store)
        self._last: dict[int, Pixels] = {}  # tiles of the last call, which border on the next ones

    def render(self, rows: Sequence[int]) -> Rendered:
        """The tiles of some rows, and which of them passed through unchanged."""
        parts = list(self.parts(rows))
        return Rendered(
            np.concatenate([part.tiles for part in parts]),
            np.concatenate([part.is_passed for part in parts]),
        )

    def parts(self, rows: Sequence[int]) -> Iterator[Rendered]:
        """The same, a few tiles at a time."""
        if not (self.around_px and isinstance(self.normalizer, LooksAround)):
            yield self.normalizer.render(self.store.read(rows))
            return
        around_n33 = self._around_N33[list(rows)]
        needed = np.unique(around_n33[around_n33 != NOBODY])
        tiles = self._read(needed.tolist())
        edge = self.store.size_px + 2 * self.around_px
        windows = np.empty((min(len(rows), TILES_AT_ONCE), edge, edge, 3), np.uint8)
        for first in range(0, len(rows), TILES_AT_ONCE):
            some_n33 = around_n33[first : first + TILES_AT_ONCE]
            for window, places_33 in zip(windows, some_n33, strict=False):
                fill_window(window, places_33, tiles, self.around_px)
            yield self.normalizer.render_middle(windows[: len(some_n33)], self.around_px)

    def _read(self, rows: Sequence[int]) -> dict[int, Pixels]:
        last = self._last
        new = [row for row in rows if row not in last]
        tiles = {row: last[row] for row in rows if row in last}
        tiles |= zip(new, self.store.read(new), strict=True)
        self._last = tiles
        return tiles


def fill_window(
    window: Pixels, places_33: NDArray[np.int64], tiles: Mapping[int, Pixels], around_px: int
) -> None:
    """Make a window show a tile with what its neighbors show up to around_px beyond its edges.

    window     (H + 2 * around_px, W + 2 * around_px, 3), written to
    places_33  the tiles at and around its place, NOBODY where there is none: there what lies next
               to it is seen as in a mirror, the pixels of the edge not twice
    tiles      (H, W, 3) each, more than around_px
    """
    own = slice(None)
    inside = (slice(0, around_px), slice(around_px, -around_px), slice(-around_px, None))
    near = (slice(-around_px, None), own, slice(0, around_px))  # of a tile before, here, behind
    mirrored = (slice(around_px, 0, -1), own, slice(-2, -2 - around_px, -1))
    for row, column in np.ndindex(3, 3):
        for down, across in ((row, column), (row, 1), (1, column), (1, 1)):
            if places_33[down, across] != NOBODY:
                break
        found = tiles[int(places_33[down, across])]
        window[inside[row], inside[column]] = found[
            (near if down == row else mirrored)[row],
            (near if across == column else mirrored)[column],
        ]


def _around(store: TileStore) -> NDArray[np.int64]:
    """The tiles around each tile of a store, see tiles_around; nobody where it has no plan."""
    size = store.attributes.get("plan", {}).get("l0_tile_size")
    pairs = np.zeros((0, 3), np.int64)
    if size is not None:
        pairs = neighbors(store.l0_xy, (round(size[0]), round(size[1])))
    return tiles_around(pairs, len(store))
