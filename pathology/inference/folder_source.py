"""Frames that another program saves into a folder: the newest picture is the frame."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event

import cv2
import numpy as np

from pathology.inference.frame import SourceLost
from pathology.slides.reader import Pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LOOK_S = 0.02
PATIENCE_S = 5.0  # a file that cannot be decoded for so long is no picture
Stamp = tuple[int, str, int]  # time of change in ns, name, size
ENDS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}  # of whole files
TAIL = 64  # bytes in which that must be
NONE: Stamp = (0, "", 0)


class FolderSource:
    """The newest picture of a folder, each time there is another one.

    A picture that is still being written is tried again until it is whole. Pictures that come
    faster than they are looked at are passed over, which is what live means.
    """

    is_simulated = False
    is_steady = False

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder)
        self._seen = NONE
        self._pixels: Pixels | None = None

    def open(self) -> None:
        """See that the folder is there. Raises SourceLost."""
        if not self.folder.is_dir():
            raise SourceLost(f"{self.folder}: no such folder")

    def grab(self, stop: Event) -> float | None:
        """Wait for a picture that is newer than the last, and whole.

        Raises SourceLost where the folder has gone.
        """
        tried: dict[Stamp, float] = {}
        while not stop.is_set():
            started_at = time.monotonic()
            stamp = self._newest(tried)
            if stamp is not None:
                captured_at = time.monotonic()
                pixels = _decoded(self.folder / stamp[1])
                if pixels is not None:
                    self._seen, self._pixels = stamp, pixels
                    return captured_at
                tried.setdefault(stamp, captured_at)
            stop.wait(max(LOOK_S, 4 * (time.monotonic() - started_at)))  # a large folder is slow
        return None

    def pixels(self) -> Pixels:
        """The picture, RGB."""
        if self._pixels is None:
            raise SourceLost(f"{self.folder}: no picture yet")
        return self._pixels

    def close(self) -> None:
        """Nothing is open."""

    def _newest(self, tried: dict[Stamp, float]) -> Stamp | None:
        now, found = time.monotonic(), []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    stamp = _stamp_of(entry)
                    is_hopeless = now - tried.get(stamp, now) > PATIENCE_S
                    if stamp[:2] > self._seen[:2] and not is_hopeless:
                        found.append(stamp)
        except OSError as error:
            raise SourceLost(f"{self.folder}: {error.strerror}") from error
        return max(found, default=None)


def _stamp_of(entry: os.DirEntry[str]) -> Stamp:
    """When a picture was changed, its name and size; older than all where it is none."""
    if entry.name.startswith(".") or not entry.name.lower().endswith(SUFFIXES):
        return NONE
    try:
        facts = entry.stat()
    except OSError:
        return NONE  # gone between the two looks
    return facts.st_mtime_ns, entry.name, facts.st_size


def _decoded(path: Path) -> Pixels | None:
    """Pixels of a picture, or None where it is not whole yet."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    end = ENDS.get(path.suffix.lower())
    if end is not None and end not in data[-TAIL:]:
        return None  # the decoder would complain, or fill what is missing with grey
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if pixels is None else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
