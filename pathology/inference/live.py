"""A stream from camera to screen: three threads, and between them boxes where the newest wins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Event, Thread
from typing import NamedTuple

import numpy as np

from pathology.core.errors import ConfigError, PathologyError
from pathology.inference.capture import RETRY_S, capture
from pathology.inference.field_grade import FieldGrade
from pathology.inference.field_grader import FieldGrader
from pathology.inference.frame import Frame, FrameSource
from pathology.inference.live_facts import Scale, Speed, Standing, facts_of
from pathology.inference.newest import Newest
from pathology.inference.overlay import Stated, blank_picture, draw_overlay, headline
from pathology.inference.recorder import Recorder
from pathology.inference.screen import Screen
from pathology.inference.session_saver import SessionSaver
from pathology.slides import jpeg

TAKE_S = 0.2
BY_SOURCE = "said by the source"
GIVE = "Give --mpp, or --objective with a calibration"
QUALITY, SUBSAMPLING = 85, "420"


class Graded(NamedTuple):
    """A frame with its grade, on its way to the screen."""

    frame: Frame
    found: FieldGrade
    scale: Scale


class LiveSession:
    """Capture, grading and display of one source, until it ends or is stopped.

    scale     of the camera, empty where the source itself knows; may be set while it runs, as
              when another objective is turned in
    recorder, saver  what else becomes of frames, if anything
    why_not   frames so far for each reason that they were not graded for, "" for graded ones
    """

    def __init__(
        self,
        source: FrameSource,
        grader: FieldGrader,
        scale: Scale,
        standing: Standing,
        screen: Screen,
        *,
        recorder: Recorder | None = None,
        saver: SessionSaver | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        self.source, self.grader, self.scale, self.standing = source, grader, scale, standing
        self.screen, self.recorder, self.saver = screen, recorder, saver
        self.retry_s = retry_s
        self.speed, self.num_lost, self.num_tiles_graded = Speed(), 0, 0
        self.why_not: Counter[str] = Counter()
        self._captured: Newest[Frame] = Newest()
        self._graded: Newest[Graded] = Newest()
        self._stop = Event()
        self._fault: BaseException | None = None
        self._is_lost = False
        self._draw_ms = 0.0

    def stop(self) -> None:
        """Ask it to end; run returns soon after."""
        self._stop.set()

    def run(self) -> None:
        """Run until the source ends or stop is called. Raises what a thread of it could not bear.

        A source that goes away is waited for.
        """
        fetch = partial(
            capture, self.source, self._captured, self._stop, on_open=self._opened,
            on_lost=self._lost, retry_s=self.retry_s,
        )  # fmt: skip
        threads = [
            Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("capture", fetch), ("grade", self._grade))
        ]
        for thread in threads:
            thread.start()
        try:
            self._display()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=10)
            for part in (self.recorder, self.saver, self.grader.stain):
                if part is not None:
                    part.close()
        if self._fault is not None:
            raise self._fault

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 (it is raised again where run was called)
            self._fault = fault
            self._stop.set()
        finally:
            self._captured.close()

    def _grade(self) -> None:
        try:
            while not self._stop.is_set() and not self._captured.is_over:
                frame = self._captured.take(TAKE_S)
                if frame is not None:
                    scale = self.scale
                    self._graded.put(Graded(frame, self._grade_of(frame, scale), scale))
        finally:
            self._graded.close()

    def _grade_of(self, frame: Frame, scale: Scale) -> FieldGrade:
        try:
            return self.grader.grade(frame, scale.mpp, scale.glass)
        except PathologyError as refusal:  # such as an objective that is too weak for the model
            none = np.zeros((0, 2), np.int64), 0.0, (), np.zeros((0, 0))
            return FieldGrade(*none, "waiting", scale.mpp, reason=str(refusal))

    def _display(self) -> None:
        while not self._graded.is_over:
            item = self._graded.take(TAKE_S)
            if item is not None:
                self._show(item)
            elif self._stop.is_set():
                return

    def _show(self, item: Graded) -> None:
        started = time.monotonic()
        frame, found, scale = item
        dropped = frame.num_dropped + self._graded.num_dropped
        so_far_ms = (started - frame.captured_at) * 1e3
        note = "SIMULATED" if self.standing.is_simulated else ""
        stated = Stated(so_far_ms + self._draw_ms, self.speed.fps, dropped, note)
        picture = draw_overlay(frame.pixels, found, self.standing.grades, stated)
        data = jpeg.encode(picture, QUALITY, SUBSAMPLING)
        shown_at = time.monotonic()
        self._draw_ms = (shown_at - started) * 1e3
        latency_ms = (shown_at - frame.captured_at) * 1e3
        found = replace(found, timings=found.timings._replace(draw=self._draw_ms))
        self.speed.add(latency_ms, found.timings, shown_at)
        self.num_tiles_graded += found.num_now
        is_graded = found.verdict == "graded"
        text, _ = headline(found, self.standing.grades)
        why_not = "" if is_graded else text.removeprefix("not graded: ")
        self.why_not[why_not] += 1
        facts = facts_of(
            found, scale, self.standing, self.speed, latency_ms=latency_ms, num_dropped=dropped,
            num_saved=self.saver.num_saved if self.saver else 0,
            why_not=why_not,
        )  # fmt: skip
        if not self._is_lost:
            self.screen.show(data, facts)
        if self.recorder is not None:
            self.recorder.write(picture, shown_at)
        if self.saver is not None:
            self.saver.offer(frame, found)

    def _opened(self, mpp: float | None) -> None:
        self._is_lost = False
        if self.scale.how in ("", BY_SOURCE):
            if mpp is None:
                raise ConfigError(f"{self.source.name} does not say its microns per pixel. {GIVE}")
            self.scale = self.scale._replace(mpp=mpp, how=BY_SOURCE)

    def _lost(self, reason: str) -> None:
        """Say so over the last picture; the next frame takes its place."""
        self.num_lost += not self._is_lost
        self._is_lost = True
        last = self.screen.view
        data = last.jpeg or jpeg.encode(blank_picture(reason), QUALITY, SUBSAMPLING)
        self.screen.show(data, {**last.facts, "state": "lost", "message": reason})
