"""Tiles in a model's colors, by each slide's own table, for any zoom."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pathology.core.errors import SlideError
from pathology.core.manifest import SlideRecord
from pathology.slides.reader import Pixels, SlideReader
from pathology.stain.normalizer import SlideNormalizer
from pathology.stain.sharp_table import SharpTableNormalizer
from pathology.stain.table_normalizer import DIRECT_PIXELS, TableNormalizer

FitSlide = Callable[[SlideReader, SlideRecord], SlideNormalizer]
MAX_KEPT = 6  # slides, of 32 MiB a table


@dataclass(frozen=True)
class Repaint:
    """New colors for one slide. problem says why they are the old ones, or nothing."""

    paint: Callable[[Pixels], Pixels]
    problem: str = ""


def repaint_of(normalizer: SlideNormalizer) -> Repaint:
    """What a slide's normalizer does to colors alone.

    A learned style also blurs or sharpens, at the resolution that it was taught at. A viewer shows
    all resolutions, and so takes its colors only.
    """
    table = normalizer.table if isinstance(normalizer, SharpTableNormalizer) else normalizer
    if isinstance(table, TableNormalizer):
        return Repaint(_by_table(table))
    if table.margin_px:
        return Repaint(_unchanged, "this model has no table of colors; use its quality lut")
    return Repaint(lambda pixels: table.render(pixels[None]).tiles[0], table.problem)


class Repaints:
    """The repaint of each slide, fitted when it is first wanted; a few are kept.

    fit  makes a slide's normalizer; it may take seconds, and threads wait for the first of them
    """

    def __init__(self, fit: FitSlide, max_kept: int = MAX_KEPT) -> None:
        self.fit, self.max_kept = fit, max_kept
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Repaint] = OrderedDict()
        self._fitting: dict[str, threading.Lock] = {}

    def __call__(self, slide: SlideReader, record: SlideRecord) -> Repaint:
        """The repaint of a slide. One that cannot be fitted keeps its colors and says why."""
        with self._lock:
            turn = self._fitting.setdefault(record.slide_id, threading.Lock())
        with turn:
            found = self._find(record.slide_id)
            if found is None:
                try:
                    found = repaint_of(self.fit(slide, record))
                except SlideError as fault:
                    found = Repaint(_unchanged, fault.reason)
                self._keep(record.slide_id, found)
            return found

    def _find(self, slide_id: str) -> Repaint | None:
        with self._lock:
            found = self._kept.get(slide_id)
            if found is not None:
                self._kept.move_to_end(slide_id)
            return found

    def _keep(self, slide_id: str, repaint: Repaint) -> None:
        with self._lock:
            self._kept[slide_id] = repaint
            while len(self._kept) > self.max_kept:
                self._kept.popitem(last=False)


def _by_table(table: TableNormalizer) -> Callable[[Pixels], Pixels]:
    table.render_tile(np.full((1, DIRECT_PIXELS + 1, 3), 255, np.uint8))  # now, the table pays

    def paint(pixels: Pixels) -> Pixels:
        painted = np.array(pixels, np.uint8, order="C")
        table.render_tile(painted)
        return painted

    return paint


def _unchanged(pixels: Pixels) -> Pixels:
    return pixels
