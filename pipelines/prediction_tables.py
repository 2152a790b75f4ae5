"""The tables that predictions are: predictions.csv of tiles, predictions.slides.csv of slides."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError

PREFIX = "prob_"


@dataclass(frozen=True, eq=False)
class TilePredictions:
    """predictions.csv: rows (N,) of slides, corners, edges and probabilities (N, C)."""

    grades: tuple[str, ...]
    slide_N: NDArray[np.object_]
    l0_xy: NDArray[np.int64]
    l0_edge_N: NDArray[np.int64]
    probability_NC: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SlidePredictions:
    """predictions.slides.csv: a row for each slide; grade -1 where there is none."""

    slide_ids: tuple[str, ...]
    grade_S: NDArray[np.int64]
    probability_SC: NDArray[np.float64]
    l0_size_S2: NDArray[np.int64]
    problems: tuple[str, ...]
    grade_names: tuple[str, ...]


def slides_table(out: Path) -> Path:
    """Where the table of slides lies: predictions.slides.csv beside predictions.csv."""
    return out.with_name(f"{out.stem}.slides.csv")


def read_tile_predictions(path: Path) -> TilePredictions:
    """A table of tiles. Raises ArtifactError where it is none."""
    rows, columns = _read(path)
    grades = tuple(name.removeprefix(PREFIX) for name in columns if name.startswith(PREFIX))
    needed = {"slide_id", "l0_x", "l0_y"}
    if not needed <= set(columns) or len(grades) < 2 or not rows:
        raise ArtifactError(
            f"{path}: no predictions of tiles. Expected slide_id, l0_x, l0_y and prob_<grade> "
            "columns, as 'pathology predict' writes them"
        )
    try:
        probability = np.array([[row[PREFIX + g] for g in grades] for row in rows], np.float64)
        l0_xy = np.array([[row["l0_x"], row["l0_y"]] for row in rows], np.float64).astype(np.int64)
        edge = np.array([row.get("l0_edge") or 0 for row in rows], np.float64).astype(np.int64)
    except ValueError as error:
        raise ArtifactError(f"{path}: a cell is no number ({error})") from error
    if not np.isfinite(probability).all():
        raise ArtifactError(f"{path}: some probabilities are no numbers: predict again")
    return TilePredictions(
        grades, texts([row["slide_id"] for row in rows]), l0_xy, edge, probability
    )


def texts(values: Sequence[str]) -> NDArray[np.object_]:
    """Texts as an array, whatever their length."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


def read_slide_predictions(path: Path, grades: tuple[str, ...]) -> SlidePredictions:
    """A table of slides beside one of tiles. Raises ArtifactError where it is none."""
    rows, columns = _read(path)
    if not {"slide_id", "grade", *(PREFIX + grade for grade in grades)} <= set(columns):
        raise ArtifactError(f"{path}: no predictions of slides, as 'pathology predict' writes them")
    return SlidePredictions(
        tuple(row["slide_id"] for row in rows),
        np.array(
            [grades.index(r["grade"]) if r["grade"] in grades else -1 for r in rows], np.int64
        ),
        np.array([[float(row[PREFIX + g] or "nan") for g in grades] for row in rows]),
        np.array([[int(r.get("l0_width") or 0), int(r.get("l0_height") or 0)] for r in rows]),
        tuple(row.get("problem", "") for row in rows),
        grades,
    )


def _read(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            return list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error
