"""Tables of predictions as a viewer needs them: slide by slide, read in a moment, without torch."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.viewer.overlay import Overlay

PREFIX = "prob_"
PLACES = ("slide_id", "l0_x", "l0_y", "l0_edge")


@dataclass(frozen=True)
class SlideSaid:
    """What the table of slides says of one: its grade with its probability, or a problem."""

    grade: str = ""
    probability: float | None = None
    problem: str = ""


def read_overlays(path: Path) -> dict[str, Overlay]:
    """The overlay of each slide in a table of tiles, CSV or Parquet.

    Raises ArtifactError where it is none, or where a probability is no number from 0 to 1.
    """
    table = _read(path)
    columns = [name for name in table.column_names if name.startswith(PREFIX)]
    if len(columns) < 2 or not set(PLACES) <= set(table.column_names):
        raise ArtifactError(
            f"{path}: no predictions of tiles. Expected {', '.join(PLACES)} and prob_<class> "
            "columns, as 'pathology predict' writes them"
        )
    probability_NC = np.stack([_numbers(path, table, name) for name in columns], axis=1)
    if not ((probability_NC >= 0) & (probability_NC <= 1)).all():
        raise ArtifactError(f"{path}: some probabilities do not lie in 0-1: predict again")
    l0 = {name: np.rint(_numbers(path, table, name)).astype(np.int64) for name in PLACES[1:]}
    l0_xy = np.stack([l0["l0_x"], l0["l0_y"]], axis=1)
    slide_ids = table["slide_id"].combine_chunks().dictionary_encode()
    group = slide_ids.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group))[:-1]) if len(order) else []
    classes = tuple(name.removeprefix(PREFIX) for name in columns)
    return {
        name: Overlay(
            classes, l0_xy[rows], max(1, int(l0["l0_edge"][rows[0]])), probability_NC[rows]
        )
        for name, rows in zip(slide_ids.dictionary.to_pylist(), parts, strict=True)
    }


def read_slides_said(path: Path) -> dict[str, SlideSaid]:
    """What the table of slides says of each; nothing where there is no such table."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["slide_id"]: _said(row) for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not the table of slides ({error!r}): predict again"
        ) from error


def _said(row: dict[str, str]) -> SlideSaid:
    grade = row["grade"]
    probability = row.get(PREFIX + grade) if grade else None
    return SlideSaid(grade, float(probability) if probability else None, row.get("problem") or "")


def _read(path: Path) -> pyarrow.Table:
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        text = pyarrow.csv.ConvertOptions(column_types={"slide_id": pyarrow.string()})
        return pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=text,
        )
    except (pyarrow.ArrowException, OSError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error


def _numbers(path: Path, table: pyarrow.Table, name: str) -> NDArray[np.float64]:
    try:
        values = table[name].cast(pyarrow.float64()).to_numpy()
    except pyarrow.ArrowException as error:
        raise ArtifactError(f"{path}: column {name}: {error}") from error
    return np.asarray(values, np.float64)
