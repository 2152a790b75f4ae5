"""Frames through OpenCV: cameras, video files, and streams over the network."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event

import cv2
import numpy as np

from pathology.core.errors import ConfigError
from pathology.inference.frame import SourceLost
from pathology.slides.reader import Pixels

OPEN_MS, READ_MS = 5000, 5000  # a stream that is silent for longer is lost
QUIET = "-8"  # of ffmpeg's levels


class OpenCvSource:
    """A camera by number or device, a video file, or an MJPEG or RTSP address.

    A video file is played at its own pace, as if it were live, and ends; one that cannot be decoded
    is refused, for it will not get better. All else is thought to go on for ever: where it stops,
    it is lost and opened again.

    size, fps  asked of a camera; what it makes of it is its own affair
    """

    is_simulated = False
    is_steady = True

    def __init__(
        self,
        address: int | str | Path,
        *,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> None:
        self.address, self.size, self.fps = address, size, fps
        self.is_file = isinstance(address, Path)
        self.name = f"camera {address}" if isinstance(address, int) else str(address)
        self._stream: cv2.VideoCapture | None = None
        self._period_s = 0.0
        self._started_at, self._num_read = 0.0, 0

    def open(self) -> None:
        """Open it. Raises SourceLost where it is not there, ConfigError for a file of no video."""
        self.close()
        logging = cv2.utils.logging  # its warnings would come at every try
        logging.setLogLevel(logging.LOG_LEVEL_ERROR)
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", QUIET)  # and so would ffmpeg's
        self._stream = self._capture()
        if not self._stream.isOpened():
            self.close()
            if self.is_file:
                raise self._no_video()
            raise SourceLost(f"{self.name} is not there, or busy")
        if self.is_file:
            fps = self._stream.get(cv2.CAP_PROP_FPS)
            self._period_s = 1 / fps if 0 < fps <= 240 else 1 / 25
            self._started_at, self._num_read = time.monotonic(), 0

    def grab(self, stop: Event) -> float | None:
        """When the next frame was there; None at the end of a file.

        Raises ConfigError for a file without a first one.
        """
        if self._stream is None:
            raise SourceLost(f"{self.name} is not open")
        if self.is_file:
            due = self._started_at + self._num_read * self._period_s
            if stop.wait(max(0.0, due - time.monotonic())):
                return None
            self._num_read += 1
        if self._stream.grab():
            return time.monotonic()
        if not self.is_file:
            raise SourceLost(f"{self.name} gives no more frames")
        if self._num_read == 1:
            raise self._no_video()
        return None

    def pixels(self) -> Pixels:
        """The frame, decoded, RGB."""
        is_read, pixels = self._stream.retrieve() if self._stream else (False, None)
        if not is_read or pixels is None:
            problem = f"{self.name} gave a frame that cannot be decoded"
            raise ConfigError(problem) if self.is_file else SourceLost(problem)
        code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
        return np.asarray(cv2.cvtColor(pixels, code), np.uint8)

    def close(self) -> None:
        """Let go of it."""
        if self._stream is not None:
            self._stream.release()
            self._stream = None

    def _no_video(self) -> ConfigError:
        return ConfigError(
            f"{self.name}: cannot be decoded as a video. Check that it is a whole one"
        )

    def _capture(self) -> cv2.VideoCapture:
        if isinstance(self.address, Path):
            return cv2.VideoCapture(str(self.address))
        if isinstance(self.address, str) and "://" in self.address:
            waits = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS
            ]  # fmt: skip
            return cv2.VideoCapture(self.address, cv2.CAP_FFMPEG, waits)
        camera = cv2.VideoCapture(self.address)
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if self.size is not None:  # most cameras give large frames fast as JPEG alone
            camera.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            camera.set(cv2.CAP_PROP_FRAME_WIDTH, self.size[0])
            camera.set(cv2.CAP_PROP_FRAME_HEIGHT, self.size[1])
        if self.fps is not None:
            camera.set(cv2.CAP_PROP_FPS, self.fps)
        return camera
