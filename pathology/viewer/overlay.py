"""The table behind the overlay: tiles of one slide with the probability of each class.

A browser paints it as a picture with one pixel for each cell of the tiles' lattice, and so it is
told the lattice, and which tile lies in which cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CELLS_ALONG = 2048  # in x and in y
JITTER = 1 / 8  # of a tile's edge: coordinates closer than this are the same column
ROUNDED = 1.05  # of a tile's edge: steps up to this are tiles side by side, corners rounded
NUM_SUSPICIOUS, APART_EDGES = 30, 2.0
FEW = 4096


@dataclass(frozen=True, eq=False)
class Overlay:
    """Predictions of one slide.

    classes         (C,) names, benign first
    l0_xy           corners (N, 2) in level-0 pixels
    l0_edge         edge of a tile in the same
    probability_NC  from 0 to 1
    """

    classes: tuple[str, ...]
    l0_xy: NDArray[np.int64]
    l0_edge: int
    probability_NC: NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        """What the page needs, in plain numbers; probabilities in thousandths, class by class."""
        lattice = lattice_of(self.l0_xy, self.l0_edge)
        thousandths = np.rint(self.probability_NC * 1000).astype(np.int64)
        return {
            "classes": list(self.classes),
            "l0_edge": self.l0_edge,
            "l0_x": self.l0_xy[:, 0].tolist(),
            "l0_y": self.l0_xy[:, 1].tolist(),
            "thousandths": thousandths.T.tolist(),
            "lattice": {
                "l0_xy": list(lattice.l0_xy),
                "l0_step": list(lattice.l0_step),
                "size": list(lattice.size),
            },
            "cells": lattice.cell_N.tolist(),
            "suspicious": [
                most_suspicious(self.l0_xy, self.l0_edge, score).tolist()
                for score in self.probability_NC.T
            ],
        }


@dataclass(frozen=True, eq=False)
class Lattice:
    """Equal cells that tiles lie in.

    l0_xy    (x, y) of the first cell's corner; l0_step (width, height) of a cell, level-0 pixels
    size     number of (columns, rows)
    cell_N   row * columns + column of each tile
    """

    l0_xy: tuple[float, float]
    l0_step: tuple[float, float]
    size: tuple[int, int]
    cell_N: NDArray[np.int64]


def lattice_of(l0_xy: NDArray[np.int64], l0_edge: int) -> Lattice:
    """The lattice of tiles at corners (N, 2).

    Where tiles overlap, cells are as large as the step between them and lie in their middles.
    Tiles that lie in no order have cells of their size, and may share one.
    """
    if not len(l0_xy):
        return Lattice((0.0, 0.0), (1.0, 1.0), (0, 0), np.zeros(0, np.int64))
    steps = [_step(values, l0_edge) for values in l0_xy.T]
    firsts, numbers = l0_xy.min(axis=0), []
    for axis in range(2):
        numbers.append(np.rint((l0_xy[:, axis] - firsts[axis]) / steps[axis]).astype(np.int64))
    num_columns, num_rows = (int(number.max()) + 1 for number in numbers)
    x, y = (float(firsts[axis] + (l0_edge - steps[axis]) / 2) for axis in range(2))
    return Lattice(
        (x, y), (steps[0], steps[1]), (num_columns, num_rows), numbers[1] * num_columns + numbers[0]
    )


def most_suspicious(
    l0_xy: NDArray[np.int64],
    l0_edge: int,
    score_N: NDArray[np.float64],
    num: int = NUM_SUSPICIOUS,
    apart_edges: float = APART_EDGES,
) -> NDArray[np.int64]:
    """Numbers of the tiles with the highest scores, best first, none near a better one.

    apart_edges  how many tile edges lie between their corners at least, in x or in y
    """
    order, apart = np.argsort(-score_N, kind="stable"), max(1.0, apart_edges * l0_edge)
    found = _first_apart(l0_xy, order[:FEW], num, apart)  # of many tiles the best are enough
    is_done = len(found) == num or len(order) <= FEW
    return found if is_done else _first_apart(l0_xy, order, num, apart)


def _first_apart(
    l0_xy: NDArray[np.int64], left: NDArray[np.int64], num: int, apart: float
) -> NDArray[np.int64]:
    """The first of these tiles, then the first that is apart from it, and so on."""
    chosen: list[int] = []
    places = l0_xy[left]
    while len(left) and len(chosen) < num:
        chosen.append(int(left[0]))
        is_far = (np.abs(places - places[0]) >= apart).any(axis=1)
        left, places = left[is_far], places[is_far]
    return np.array(chosen, np.int64)


def _step(values: NDArray[np.int64], l0_edge: int) -> float:
    """Mean step between neighboring columns; a tile's edge where there is but one."""
    places = np.unique(values)
    gaps = np.diff(places)
    gaps = gaps[gaps > JITTER * l0_edge]
    step = float(l0_edge)
    if len(gaps):
        found = float(gaps[gaps < 1.5 * gaps.min()].mean())
        step = found if found < ROUNDED * l0_edge else step
    extent = float(places[-1] - places[0])
    return max(1.0, step, extent / (MAX_CELLS_ALONG - 1))
