"""What is said of a field: of its tiles, of the whole, and of how long it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

TileState = Literal["waiting", "graded", "glass", "black", "ink", "blurred", "unlike"]
Verdict = Literal["graded", "glass", "out of focus", "out of distribution", "waiting"]
HALF = 0.5


class Timings(NamedTuple):
    """Milliseconds that each part took of one frame."""

    capture: float = 0.0
    wait: float = 0.0
    resize: float = 0.0
    check: float = 0.0
    normalize: float = 0.0
    network: float = 0.0
    draw: float = 0.0


@dataclass(frozen=True, eq=False)
class FieldGrade:
    """A frame after grading.

    xy, edge      corners (N, 2) of its tiles and their edge, in pixels of the frame
    states        of the tiles
    probability_NC  of the tiles; NaN where there is none
    verdict       graded, or why the field is not
    reason        more on that, for the reader
    grade         number of the field's grade, -1 without
    probability_C of the field; empty without
    num_now       tiles that were graded on this very frame; others on earlier ones of this field
    """

    xy: NDArray[np.int64]
    edge: float
    states: tuple[TileState, ...]
    probability_NC: NDArray[np.float64]
    verdict: Verdict
    mpp: float
    reason: str = ""
    grade: int = -1
    probability_C: tuple[float, ...] = ()
    num_now: int = 0
    timings: Timings = field(default_factory=Timings)

    @property
    def confidence(self) -> float:
        """Probability of the field's grade; NaN without."""
        return self.probability_C[self.grade] if self.grade >= 0 else float("nan")

    @property
    def how_probable(self) -> str:
        """The same in words. A slide rule may decide for a grade that is not the most probable one,
        as half of the probability lies at it or beyond; then that is said, too.
        """
        said = f"{self.confidence:.0%}"
        if self.confidence >= max(self.probability_C, default=0.0):
            return said
        return f"{said}, with grades beyond {sum(self.probability_C[self.grade :]):.0%}"

    @property
    def num_graded(self) -> int:
        """Tiles with a grade."""
        return sum(state == "graded" for state in self.states)

    @property
    def num_tissue(self) -> int:
        """Tiles that show tissue."""
        return sum(state in ("waiting", "graded", "blurred", "unlike") for state in self.states)


def verdict_of(states: tuple[TileState, ...]) -> Verdict:
    """What holds of a field: what holds of half of its tiles with tissue, or more.

    >>> verdict_of(("glass", "graded", "blurred", "blurred"))
    'out of focus'
    """
    tissue = [s for s in states if s in ("waiting", "graded", "blurred", "unlike")]
    if not tissue:
        return "glass"
    if tissue.count("blurred") >= HALF * len(tissue):
        return "out of focus"
    looked_at = [s for s in tissue if s in ("graded", "unlike")]
    if not looked_at:
        return "waiting"
    return "graded" if looked_at.count("unlike") < HALF * len(looked_at) else "out of distribution"
