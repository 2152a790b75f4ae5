"""Tables of predictions as a viewer needs them: slide by slide, read in a moment, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.core.table import dialect_of
from pathology.viewer.overlay import Overlay
from pipelines.prediction_tables import PREFIX, check_tiles, read_rows

PLACES = ("slide_id", "l0_x", "l0_y", "l0_edge")


@dataclass(frozen=True)
class SlideSaid:
    """What the table of slides says of one, or a problem.

    grade        in words; between the first and the last it is "<grade> or worse": a slide is of
                 the highest grade that it reaches, and may well be no less likely beyond it
    probability  of just that
    """

    grade: str = ""
    probability: float | None = None
    problem: str = ""


def read_overlays(path: Path) -> dict[str, Overlay]:
    """The overlay of each slide in a table of tiles, CSV or Parquet.

    Raises ArtifactError where it is none; see check_tiles, too.
    """
    table = _read(path)
    columns = [name for name in table.column_names if name.startswith(PREFIX)]
    if len(columns) < 2 or not set(PLACES) <= set(table.column_names):
        raise ArtifactError(
            f"{path}: no predictions of tiles. Expected {', '.join(PLACES)} and prob_<class> "
            "columns, as 'pathology predict' writes them"
        )
    probability_NC = np.stack([_numbers(path, table, name) for name in columns], axis=1)
    place_N3 = np.stack([_numbers(path, table, name) for name in PLACES[1:]], axis=1)
    slide_ids = table["slide_id"].combine_chunks().dictionary_encode()
    group = slide_ids.indices.to_numpy(zero_copy_only=False)
    names = slide_ids.dictionary.to_pylist()
    check_tiles(path, names, group, place_N3, probability_NC)
    l0 = np.rint(place_N3).astype(np.int64)
    l0_xy, l0_edge_N = l0[:, :2], l0[:, 2]
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group))[:-1]) if len(order) else []
    classes = tuple(name.removeprefix(PREFIX) for name in columns)
    return {
        name: Overlay(classes, l0_xy[rows], max(1, int(l0_edge_N[rows[0]])), probability_NC[rows])
        for name, rows in zip(names, parts, strict=True)
    }


def read_slides_said(path: Path) -> dict[str, SlideSaid]:
    """What the table of slides says of each; nothing where there is no such table."""
    if not path.is_file():
        return {}
    try:
        return {row["slide_id"]: _said(row) for row in read_rows(path)[1]}
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not the table of slides ({error!r}): predict again"
        ) from error


def _said(row: dict[str, str]) -> SlideSaid:
    grade, problem = row["grade"], row.get("problem") or ""
    grades = [name.removeprefix(PREFIX) for name in row if name.startswith(PREFIX)]
    if grade not in grades or not row[PREFIX + grade]:
        return SlideSaid(grade, None, problem)
    place = grades.index(grade)
    probability = [float(row[PREFIX + name].replace(",", ".")) for name in grades]
    if 0 < place < len(grades) - 1:
        return SlideSaid(f"{grade} or worse", min(1.0, sum(probability[place:])), problem)
    return SlideSaid(grade, probability[place], problem)


def _read(path: Path) -> pyarrow.Table:
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        delimiter, decimal = dialect_of(path)
        text = pyarrow.csv.ConvertOptions(
            column_types={"slide_id": pyarrow.string()}, decimal_point=decimal
        )
        return pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
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
