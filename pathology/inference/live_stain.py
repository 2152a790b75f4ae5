"""Stain normalization of a stream by one table of colors, measured once and seldom again."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pathology.slides.reader import Pixels
from pathology.stain.config import StainConfig
from pathology.stain.normalizer import SlideNormalizer, StainModel

NUM_TILES = 24  # that are looked at before the stain is measured
TAKEN_OF_A_FIELD = 4
EVERY_S = 1.0  # between fields that tiles are taken of
WARM_TILES = 16  # rendered at once, so that the table is made before the first frame needs it


class LiveStain:
    """Renders fields in a stain model's style, once enough tiles in focus were seen.

    Measuring takes a while and is done beside the stream, which goes on with what it has. The
    state is a few tiles and one table.

    refresh_s  after which the stain is measured anew: lamps warm up and slides change
    problem    why there is no rendering yet, or ""
    """

    def __init__(
        self, model: StainModel, config: StainConfig | None = None, *, refresh_s: float = 300.0
    ) -> None:
        self.model, self.config, self.refresh_s = model, config or StainConfig(), refresh_s
        self.problem = "its stain is being measured"
        self._tiles: list[Pixels] = []
        self._last_s = self._measured_s = -1e9
        self._normalizer: SlideNormalizer | None = None
        self._pool = ThreadPoolExecutor(1, "stain")
        self._pending: Future[SlideNormalizer] | None = None

    def render(self, field: Pixels, sharp_tiles: list[Pixels]) -> Pixels | None:
        """A field (H, W, 3) in the model's style; None: it cannot be told yet.

        sharp_tiles  those of its tiles that are in focus and show tissue
        """
        now = time.monotonic()
        self._collect(sharp_tiles, now)
        self._take_up(now)
        if self._normalizer is None:
            return None
        if self._normalizer.problem:
            self.problem = f"no stain to measure ({self._normalizer.problem})"
            return None
        rendered = self._normalizer.render(field[None]).tiles
        return np.asarray(rendered[0], np.uint8)

    def restart(self) -> None:
        """Measure again, as on a new slide."""
        self._tiles, self._measured_s = [], -1e9

    def close(self) -> None:
        """End what is being measured."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _collect(self, sharp_tiles: list[Pixels], now: float) -> None:
        is_due = now - self._measured_s > self.refresh_s and self._pending is None
        if not is_due or now - self._last_s < EVERY_S or not sharp_tiles:
            return
        self._last_s = now
        step = max(1, len(sharp_tiles) // TAKEN_OF_A_FIELD)
        self._tiles += [tile.copy() for tile in sharp_tiles[::step][:TAKEN_OF_A_FIELD]]
        is_first = self._normalizer is None and len(self._tiles) >= TAKEN_OF_A_FIELD
        if len(self._tiles) >= NUM_TILES or is_first:
            self._pending = self._pool.submit(self._fit, np.stack(self._tiles))
            self._measured_s = now if not is_first else now - self.refresh_s + 10 * EVERY_S
            self._tiles = []

    def _take_up(self, now: float) -> None:
        if self._pending is not None and self._pending.done():
            found, self._pending = self._pending.result(), None
            if self._normalizer is None or self._normalizer.problem or not found.problem:
                self._normalizer = found

    def _fit(self, tiles_NHW3: Pixels) -> SlideNormalizer:
        made = self.model.for_slide(tiles_NHW3, self.config)
        if not made.problem:
            times = -(-WARM_TILES // len(tiles_NHW3))
            made.render(np.tile(tiles_NHW3, (times, 1, 1, 1))[:WARM_TILES])
        return made
