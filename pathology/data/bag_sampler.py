"""Which tiles make a step's batch: a slide of 50 tiles and one of 50,000 count alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathology.data.tile_source import SlideTable


def draw_bags(
    random: np.random.Generator, table: SlideTable, num_slides: int, num_tiles: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Slides (B,), as many of each grade as can be, and tiles (B, num_tiles) of each.

    Grades take turns from a random one on; a slide comes twice only where its grade has too few, a
    tile only where its slide has.
    """
    grades = np.unique(table.grade_S[(table.num_S > 0) & (table.grade_S >= 0)])
    first = int(random.integers(len(grades)))
    turn = grades[(first + np.arange(num_slides)) % len(grades)]
    slides = np.empty(num_slides, np.int64)
    for grade in grades.tolist():
        places = np.flatnonzero(turn == grade)
        usable = np.flatnonzero((table.grade_S == grade) & (table.num_S > 0))
        slides[places] = _choose(random, usable, len(places))
    rows = np.stack([_choose(random, table.rows(slide), num_tiles) for slide in slides.tolist()])
    return slides, rows


def _choose(random: np.random.Generator, items: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """num of the items in random order, each as often as any other, or once more."""
    whole, rest = divmod(num, len(items))
    chosen = [items] * whole + [random.choice(items, rest, replace=False)]
    return random.permutation(np.concatenate(chosen))
