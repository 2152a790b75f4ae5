"""What is true of tiles, where a map of grades lies beside a slide: for oracle and scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import content_digest
from pathology.core.errors import ArtifactError, SlideError
from pathology.core.manifest import SlideRecord

COLUMN = "truth_path"  # of a manifest
MIN_SHARE = 0.75  # of a tile's known tissue that must be of one grade


def has_truth(record: SlideRecord) -> bool:
    """Whether the manifest names a map for a slide."""
    return bool(record.extra.get(COLUMN))


def truth_digest(record: SlideRecord, root: Path) -> str:
    """Of the map that the manifest names for a slide, found below root; "" where it names none."""
    path = root / str(record.extra.get(COLUMN) or "")
    if not has_truth(record):
        return ""
    return content_digest(path) if path.is_file() else "missing"


def truth_of_tiles(
    record: SlideRecord,
    l0_xy: NDArray[np.int64],
    l0_edge: int,
    l0_size: tuple[int, int],
    root: Path,
    grades: Sequence[str],
) -> NDArray[np.int64]:
    """Grade (N,) of each tile, -1 where its tissue is of several grades or nobody knows.

    The map is an 8-bit picture of the whole slide, smaller than level 0: 0 for glass or not known,
    k + 1 for grade k.
    root    folder that a relative path starts from
    grades  benign first; the slide's label is one of them, or is not known
    Raises SlideError where the map cannot be read, has another shape than the slide, knows more
    grades, or shows a worse one than the label; and where places or sizes are not known.
    """
    if not l0_edge or not min(l0_size):
        raise SlideError(
            record.slide_id,
            "nothing says how large the slide and its tiles are, so its map of grades cannot be "
            "laid over them",
            "Predict from a run, or from what 'pathology features' made of it",
        )
    map_HW = _read_map(record, root / str(record.extra[COLUMN]), grades)
    scale_x, scale_y = l0_size[0] / map_HW.shape[1], l0_size[1] / map_HW.shape[0]
    if abs(scale_x / scale_y - 1) > 0.02:
        raise SlideError(
            record.slide_id,
            f"its map of grades has {map_HW.shape[1]}x{map_HW.shape[0]} px, another shape than "
            f"the slide's {l0_size[0]}x{l0_size[1]}",
            "Give the map of this slide",
        )
    found = np.full(len(l0_xy), -1, np.int64)
    for number, (x, y) in enumerate(l0_xy.tolist()):
        top, left = round(y / scale_y), round(x / scale_x)  # pixels whose centres a tile holds
        inside = map_HW[
            top : max(top + 1, round((y + l0_edge) / scale_y)),
            left : max(left + 1, round((x + l0_edge) / scale_x)),
        ]
        counts = np.bincount(inside[inside > 0].ravel(), minlength=2)[1:]
        if counts.sum() and counts.max() >= MIN_SHARE * counts.sum():
            found[number] = int(counts.argmax())
    worst = int(found.max(initial=-1))
    if record.label in grades and worst > grades.index(record.label):
        raise SlideError(
            record.slide_id,
            f"its map of grades shows {grades[worst]}, its label says {record.label}",
            "Check both: maps have k + 1 for grade k, and no name by which --class-map knows it",
        )
    return found


def _read_map(record: SlideRecord, path: Path, grades: Sequence[str]) -> NDArray[np.uint8]:
    stream = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    map_HW = cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE) if len(stream) else None
    if map_HW is None:
        raise SlideError(record.slide_id, f"no map of grades can be read at {path}", "Check it")
    if map_HW.max() > len(grades):
        raise SlideError(
            record.slide_id,
            f"its map of grades has the value {map_HW.max()}, and there are {len(grades)} grades "
            f"({' < '.join(grades)})",
            "Give maps with 0 for what is not known and k + 1 for grade k",
        )
    return np.asarray(map_HW, np.uint8)


def require_truth(records: list[SlideRecord]) -> None:
    """Raise ArtifactError where no slide has a map of grades."""
    if not any(map(has_truth, records)):
        raise ArtifactError(
            f"the manifest names no map of grades: the oracle needs its column {COLUMN}"
        )
