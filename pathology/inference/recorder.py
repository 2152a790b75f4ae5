"""The annotated stream as a video file that plays in real time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pathology.core.errors import ArtifactError
from pathology.slides.reader import Pixels, scale_to

MOST_REPEATS = 50  # of a picture, while none came


class Recorder:
    """Writes pictures into OUT.mp4 at a steady rate, each as often as its time on screen says.

    The file has its name once it is closed; until then it is hidden beside it.
    """

    def __init__(self, out: Path, fps: float = 10.0) -> None:
        self.out, self.fps = out, fps
        self._scratch = out.with_name(f".{out.stem}.part{out.suffix or '.mp4'}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._first_s, self._num = 0.0, 0
        self._last: Pixels | None = None

    def write(self, pixels: Pixels, shown_at: float) -> None:
        """Add a picture (H, W, 3) RGB, shown at that time in seconds. Raises ArtifactError."""
        if self._writer is None:
            self._start(pixels, shown_at)
        bgr = np.asarray(cv2.cvtColor(scale_to(pixels, self._size), cv2.COLOR_RGB2BGR), np.uint8)
        due = int((shown_at - self._first_s) * self.fps + 1e-6) + 1 - self._num
        if due > MOST_REPEATS:  # a long silence is left out
            self._first_s += (due - MOST_REPEATS) / self.fps
            due = MOST_REPEATS
        shown = [self._last] * (due - 1) + [bgr] * min(due, 1)  # the last one until now
        for picture in shown:
            if self._writer is not None and picture is not None:
                self._writer.write(picture)
            self._num += 1
        self._last = bgr

    def close(self) -> None:
        """Finish the file; harmless twice."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._scratch.replace(self.out)

    def _start(self, pixels: Pixels, shown_at: float) -> None:
        height, width = pixels.shape[:2]
        self._size = width - width % 2, height - height % 2
        self.out.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*("MJPG" if self.out.suffix == ".avi" else "mp4v"))
        self._writer = cv2.VideoWriter(str(self._scratch), code, self.fps, self._size)
        self._first_s = shown_at
        if not self._writer.isOpened():
            self._writer = None
            raise ArtifactError(f"{self.out}: cannot be recorded to. Give a name that ends in .mp4")
