"""Frames kept as pictures without labels: what the next adaptation learns this microscope from."""

from __future__ import annotations

import csv
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from pathology.core.artifact import publish, write_text
from pathology.core.table import csv_text
from pathology.inference.field_grade import FieldGrade
from pathology.inference.field_grid import shift_between
from pathology.inference.frame import Frame
from pathology.slides.reader import Pixels

COLUMNS = ("slide_id", "case_id", "slide_path", "mpp", "domain")
MANIFEST = "manifest.csv"
LOOK_PX = 128  # width at which fields are compared
MOVED_SHARE = 0.25  # of the field's width that it must have moved
WORTH = ("graded", "out of distribution")  # in focus and with tissue


class SessionSaver:
    """Writes PNG files below DIR/SESSION and DIR/manifest.csv with a row for each.

    A frame is kept when some time has passed since the last, the field is another one, and it
    shows tissue in focus. Compressing takes a while and is done beside the stream, one at a time.

    every_s  least time between two frames
    """

    def __init__(self, folder: Path, session: str, *, every_s: float = 5.0) -> None:
        self.folder, self.session, self.every_s = folder, session, every_s
        self.num_saved = 0
        self._last_s = -1e9
        self._look: np.ndarray[tuple[int, int], np.dtype[np.uint8]] | None = None
        self._pool = ThreadPoolExecutor(1, "saver")
        self._pending: Future[None] | None = None

    @property
    def manifest(self) -> Path:
        """The table of all that was saved, in this session and earlier ones."""
        return self.folder / "manifest.csv"

    def offer(self, frame: Frame, found: FieldGrade) -> bool:
        """Keep a frame if it is worth it; whether it is."""
        if self._pending is not None and self._pending.done():
            finished, self._pending = self._pending, None
            finished.result()  # a full disk is to be heard of
        if found.verdict not in WORTH or frame.captured_at - self._last_s < self.every_s:
            return False
        look = _look(frame.pixels)
        if self._pending is not None or not self._is_other(look):
            return False
        self._last_s, self._look = frame.captured_at, look
        self._pending = self._pool.submit(self._save, frame.pixels, found.mpp)
        return True

    def close(self) -> None:
        """Wait for what is being written; harmless twice."""
        self._pool.shutdown(wait=True)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _is_other(self, look: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> bool:
        if self._look is None:
            return True
        shift = shift_between(self._look, look)
        return shift is None or shift > MOVED_SHARE * LOOK_PX

    def _save(self, pixels: Pixels, mpp: float) -> None:
        name = f"{self.session}_{self.num_saved + 1:05d}"
        path = self.folder / self.session / f"{name}.png"
        _, data = cv2.imencode(
            ".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1]
        )
        with publish(path) as scratch:
            scratch.write_bytes(data.tobytes())
        said = (name, self.session, f"{self.session}/{path.name}", f"{mpp:.6g}", "microscope")
        columns, rows = _read(self.manifest)
        rows.append(dict(zip(COLUMNS, said, strict=True)))
        cells = [[row.get(column, "") for column in columns] for row in rows]
        write_text(self.manifest, csv_text([columns, *cells]))
        self.num_saved += 1


def _read(manifest: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of earlier sessions and of this one; labels, say, were added since."""
    if not manifest.is_file():
        return [*COLUMNS], []
    with manifest.open(encoding="utf-8-sig", newline="") as stream:
        found = csv.DictReader(stream)
        rows = [{k: v or "" for k, v in row.items() if k} for row in found]
        return list(found.fieldnames or COLUMNS), rows


def _look(pixels: Pixels) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    height, width = pixels.shape[:2]
    size = LOOK_PX, max(2, round(LOOK_PX * height / width))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
