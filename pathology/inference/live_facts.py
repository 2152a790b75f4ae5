"""What the page and the record say of a stream: rates, latencies, and the newest field."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pathology.inference.field_grade import FieldGrade, Timings
from pathology.inference.tile_checks import Color

RECENT = 600  # frames that percentiles are of
RATE_S = 3.0
MOST_REASONS = 5  # that are told in the end


class Scale(NamedTuple):
    """Microns per pixel of the camera, how they are known, and the color of empty glass."""

    mpp: float
    how: str
    objective: str = ""
    glass: Color | None = None


class Standing(NamedTuple):
    """What of a session does not change from frame to frame."""

    grades: tuple[str, ...]
    model: str
    source: str
    is_simulated: bool
    checks: dict[str, str]
    recording: str = ""
    is_saving: bool = False


class Speed:
    """Latencies and rate of the newest frames, in bounded memory."""

    def __init__(self) -> None:
        self._latency_ms: deque[float] = deque(maxlen=RECENT)
        self._timings: deque[Timings] = deque(maxlen=RECENT)
        self._shown_at: deque[float] = deque(maxlen=RECENT)
        self.num_frames = 0

    def add(self, latency_ms: float, timings: Timings, shown_at: float) -> None:
        """Take in a frame that was shown, seconds of time.monotonic()."""
        self._latency_ms.append(latency_ms)
        self._timings.append(timings)
        self._shown_at.append(shown_at)
        self.num_frames += 1

    @property
    def fps(self) -> float:
        """Frames a second of late."""
        if len(self._shown_at) < 2:
            return 0.0
        last = self._shown_at[-1]
        recent = [at for at in self._shown_at if at >= last - RATE_S]
        return (len(recent) - 1) / max(last - recent[0], 1e-6) if len(recent) > 1 else 0.0

    def latency(self, percent: float) -> float:
        """A percentile of the latency of recent frames, in ms."""
        return float(np.percentile(self._latency_ms, percent)) if self._latency_ms else 0.0

    def parts(self, percent: float) -> Timings:
        """A percentile of each part's time by itself, in ms."""
        rows = np.array(self._timings) if self._timings else np.zeros((1, len(Timings._fields)))
        return Timings(*np.percentile(rows, percent, axis=0).tolist())


def facts_of(
    found: FieldGrade,
    scale: Scale,
    standing: Standing,
    speed: Speed,
    *,
    latency_ms: float,
    num_dropped: int,
    num_saved: int,
    why_not: str,
) -> dict[str, Any]:
    """Plain values on a frame, for the page."""
    grades: Sequence[str] = standing.grades
    is_graded = found.verdict == "graded"
    chances = zip(grades, found.probability_C, strict=True) if is_graded else ()
    return {
        "state": "live",
        "message": "",
        "is_simulated": standing.is_simulated,
        "verdict": found.verdict,
        "grade": grades[found.grade] if is_graded else "",
        "confidence": found.confidence if is_graded else 0.0,
        "how_probable": found.how_probable if is_graded else "",
        "probabilities": [[name, float(value)] for name, value in chances],
        "reason": "" if is_graded else why_not,
        "num_graded": found.num_graded,
        "num_tissue": found.num_tissue,
        "num_now": found.num_now,
        "num_tiles": len(found.states),
        "mpp": scale.mpp,
        "mpp_source": scale.how,
        "objective": scale.objective,
        "latency_ms": latency_ms,
        "latency_p95_ms": speed.latency(95),
        "fps": speed.fps,
        "num_dropped": num_dropped,
        "timings": found.timings._asdict(),
        "checks": standing.checks,
        "model": standing.model,
        "source": standing.source,
        "recording": standing.recording,
        "saving": standing.is_saving,
        "num_saved": num_saved,
    }


def not_graded_lines(why_not: Counter[str]) -> list[str]:
    """How many frames of a session had a grade, and why the others had none; nothing if all had.

    why_not  number of frames for each reason, "" for those with a grade

    >>> not_graded_lines(Counter({"": 30, "glass only": 8}))
    ['30 of 38 frames were graded. Not graded:', '  8 frames: glass only']
    """
    num, num_graded = why_not.total(), why_not[""]
    if num == num_graded:
        return []
    reasons = [(reason, times) for reason, times in why_not.most_common() if reason][:MOST_REASONS]
    lines = [f"{num_graded or 'None'} of {num} frames were graded. Not graded:"]
    return lines + [f"  {times} frame{'s' * (times > 1)}: {reason}" for reason, times in reasons]
