"""Grades fields of a camera one after the other, within a budget of time for each frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ConfigError
from pathology.inference.field_grade import FieldGrade, TileState, Timings, verdict_of
from pathology.inference.field_grid import (
    FieldPlan,
    by_distance,
    plan_field,
    shift_between,
    whose_turn,
)
from pathology.inference.frame import Frame
from pathology.inference.glass import GlassSeen
from pathology.inference.live_stain import LiveStain
from pathology.inference.taught_limits import TaughtLimits
from pathology.inference.tile_checks import Color, check_tiles, small_size
from pathology.inference.tile_network import TileNetwork
from pathology.slides.reader import Pixels, scale_to
from pathology.tiling.config import TissueConfig

MOTION_MPP = 4.0
STILL_SHARE = 1 / 16  # of a tile's edge: a field that moved less is the same field
MAX_UPSAMPLE = 1.5  # as in tiling
EVER = 1 << 30  # age of a tile that was never graded
REMEMBERED = 0.8  # of the time that tiles took on earlier frames

Grades = NDArray[np.float64]


class FieldGrader:
    """A classifier on a stream. What it keeps between frames has a fixed size.

    A field that holds more tiles than fit the budget is graded over several frames while it stands
    still, its middle first; grades of a field that has moved are forgotten.

    tile_px, tile_mpp  of the model
    grade_field  grade of a field, and probabilities (C,), from those of its tiles (N, C)
    limits       of what the model was taught on; None: not known, and nothing is told apart by it
    stain        to normalize by; None: the model was taught on tiles as they are
    budget_ms    of the network for one frame
    """

    def __init__(
        self,
        network: TileNetwork,
        tile_px: int,
        tile_mpp: float,
        grade_field: Callable[[Grades], tuple[int, Grades]],
        *,
        limits: TaughtLimits | None = None,
        stain: LiveStain | None = None,
        budget_ms: float = 40.0,
    ) -> None:
        self.network, self.tile_px, self.tile_mpp = network, tile_px, tile_mpp
        self.grade_field, self.limits, self.stain = grade_field, limits, stain
        self.budget_ms = budget_ms
        self._ms_per_tile = 0.0
        self._plan, self._plan_of = FieldPlan((0, 0), np.zeros((0, 2), np.int64), 1.0), (0, 0, 0.0)
        self._seen = GlassSeen()
        self._reference: NDArray[np.uint8] | None = None
        self._forget(0)
        self._warm_up()

    def grade(self, frame: Frame, mpp: float, glass: Color | None = None) -> FieldGrade:
        """The grade of a frame at mpp. Raises ConfigError where mpp is too coarse for the model.

        glass  color of empty glass, where it is known; else what was seen of it so far
        """
        clock = _Clock(frame)
        plan = self._planned(frame, mpp)
        field = scale_to(frame.pixels, plan.size_px)
        clock.lap("resize")
        small = scale_to(field, small_size(field, self.tile_mpp, MOTION_MPP))
        if not self._is_same(small):
            self._forget(len(plan.xy))
        thumbnail = scale_to(small, small_size(field, self.tile_mpp, TissueConfig().mpp))
        self._seen.look(thumbnail)
        states = check_tiles(
            field,
            thumbnail,
            plan.xy,
            self.tile_px,
            self.tile_mpp,
            self.limits,
            glass or self._seen.color,
        )
        clock.lap("check")
        blank = FieldGrade(
            np.rint(plan.xy * plan.scale).astype(np.int64), self.tile_px * plan.scale,
            tuple(states), np.full((len(states), 0), np.nan), verdict_of(tuple(states)), mpp,
        )  # fmt: skip
        if not len(states):
            why = f"the field is smaller than a tile of {self.tile_px * self.tile_mpp:.0f} um"
            return replace(blank, verdict="waiting", reason=why, timings=clock.timings)
        if blank.verdict != "waiting":
            return replace(blank, timings=clock.timings)
        if self.stain is not None:
            sharp = [self._tile(field, n) for n, s in enumerate(states) if s == "waiting"]
            stained = self.stain.render(field, sharp)
            clock.lap("normalize")
            if stained is None:
                return replace(blank, reason=self.stain.problem, timings=clock.timings)
            field = stained
        num_now = self._ask(field, states)
        clock.lap("network")
        return replace(self._answer(blank, states), num_now=num_now, timings=clock.timings)

    def _planned(self, frame: Frame, mpp: float) -> FieldPlan:
        height, width = frame.pixels.shape[:2]
        if self._plan_of != (width, height, mpp):
            if mpp > self.tile_mpp * MAX_UPSAMPLE:
                raise ConfigError(
                    f"the camera has {mpp:.3g} um/px, too coarse for a model of "
                    f"{self.tile_mpp:.3g} um/px. Take a stronger objective"
                )
            self._plan = plan_field((width, height), mpp, self.tile_px, self.tile_mpp)
            self._plan_of = width, height, mpp
            self._order = by_distance(self._plan, self.tile_px)
            self._reference, self._seen = None, GlassSeen()
        return self._plan

    def _is_same(self, small: Pixels) -> bool:
        """Whether the field is still the one that was graded; else it becomes the one that is."""
        seen = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        shift = None if self._reference is None else shift_between(self._reference, seen)
        most = STILL_SHARE * self.tile_px * self.tile_mpp / MOTION_MPP
        is_same = shift is not None and shift <= most
        if not is_same:
            self._reference = seen
        return is_same

    def _forget(self, num: int) -> None:
        self._age = np.full(num, EVER, np.int64)
        self._probability_NC: Grades | None = None
        self._is_unlike = np.zeros(num, np.bool_)

    def _ask(self, field: Pixels, states: list[TileState]) -> int:
        """Let the network look at those tiles whose turn it is; how many."""
        self._age += 1
        wanted = np.array([state == "waiting" for state in states], np.bool_)
        most = max(1, int(self.budget_ms / max(self._ms_per_tile, 1e-3)))
        rows = whose_turn(wanted, self._age, self._order, most)
        started = time.perf_counter()
        found = self.network(np.stack([self._tile(field, int(row)) for row in rows]))
        self._remember_time((time.perf_counter() - started) * 1e3 / len(rows))
        if self._probability_NC is None:
            num_grades = found.probability_NC.shape[1]
            self._probability_NC = np.full((len(states), num_grades), np.nan)
        self._probability_NC[rows] = found.probability_NC
        self._age[rows] = 0
        if self.limits is not None:
            distance = self.limits.distance(found.features_NF)
            self._is_unlike[rows] = distance > self.limits.max_distance
        return len(rows)

    def _answer(self, blank: FieldGrade, states: list[TileState]) -> FieldGrade:
        """The grade of the field from all that is known of it by now."""
        probability_NC = self._probability_NC
        if probability_NC is None:
            return blank
        for row, state in enumerate(states):
            if state == "waiting" and self._age[row] < EVER:
                states[row] = "unlike" if self._is_unlike[row] else "graded"
        is_graded = np.array([state == "graded" for state in states], np.bool_)
        made = replace(
            blank, states=tuple(states), verdict=verdict_of(tuple(states)),
            probability_NC=np.where(is_graded[:, None], probability_NC, np.nan),
        )  # fmt: skip
        if made.verdict != "graded":
            return made
        grade, whole_C = self.grade_field(probability_NC[is_graded])
        return replace(made, grade=grade, probability_C=tuple(whole_C.tolist()))

    def _tile(self, field: Pixels, number: int) -> Pixels:
        x, y = self._plan.xy[number].tolist()
        return field[y : y + self.tile_px, x : x + self.tile_px]

    def _warm_up(self) -> None:
        """A first frame is not to wait for what is done once."""
        blank = np.full((2, self.tile_px, self.tile_px, 3), 200, np.uint8)
        for _ in range(3):
            started = time.perf_counter()
            self.network(blank)
            self._ms_per_tile = (time.perf_counter() - started) * 1e3 / len(blank)

    def _remember_time(self, ms: float) -> None:
        self._ms_per_tile = REMEMBERED * self._ms_per_tile + (1 - REMEMBERED) * ms


class _Clock:
    """What each part of a frame takes."""

    def __init__(self, frame: Frame) -> None:
        self._last = time.monotonic()
        waited = (self._last - frame.captured_at) * 1e3 - frame.capture_ms
        self.timings = Timings(capture=frame.capture_ms, wait=waited)

    def lap(self, part: str) -> None:
        """Say what was done since the last lap."""
        now = time.monotonic()
        self.timings = self.timings._replace(**{part: (now - self._last) * 1e3})
        self._last = now
