"""The tables that predictions are: predictions.csv of tiles, predictions.slides.csv of slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError, ManifestError
from pathology.core.output_place import require_file_place
from pathology.core.table import Table, read_csv

KINDS = (".csv", ".parquet")  # of tables
PREFIX, OWN_PREFIX = "prob_", "own_"
SUM_TOLERANCE = 0.05  # of probabilities with two decimals, of ten classes
ANSWERS = {"true": True, "false": False}  # in a column; others are not known


@dataclass(frozen=True, eq=False)
class TilePredictions:
    """predictions.csv: rows (N,) of slides, corners, edges and probabilities (N, C)."""

    grades: tuple[str, ...]
    slide_N: NDArray[np.object_]
    l0_xy: NDArray[np.int64]
    l0_edge_N: NDArray[np.int64]
    probability_NC: NDArray[np.float64]

    def by_slide(self) -> dict[str, list[int]]:
        """The rows of each slide, in one pass."""
        rows_of: dict[str, list[int]] = {}
        for row, slide_id in enumerate(self.slide_N.tolist()):
            rows_of.setdefault(slide_id, []).append(row)
        return rows_of


@dataclass(frozen=True, eq=False)
class SlidePredictions:
    """predictions.slides.csv: a row for each slide; grade -1 where there is none.

    grade_texts  what stands in the column grade, which may be none of grade_names
    is_taught    whether the model learned from the slide; None where that is not known
    is_picture   whether it is a flat picture; False where that is not known
    own_SC       probabilities by the method itself; nan where there are none
    """

    slide_ids: tuple[str, ...]
    grade_S: NDArray[np.int64]
    probability_SC: NDArray[np.float64]
    l0_size_S2: NDArray[np.int64]
    grade_texts: tuple[str, ...]
    problems: tuple[str, ...]
    grade_names: tuple[str, ...]
    is_taught: tuple[bool | None, ...]
    is_picture: tuple[bool, ...]
    own_SC: NDArray[np.float64]


def slides_table(out: Path) -> Path:
    """Where the table of slides lies: predictions.slides.csv beside predictions.csv."""
    return beside(out, ".slides.csv")


def run_record(out: Path) -> Path:
    """Where the record of the prediction lies: predictions.run.json beside predictions.csv."""
    return beside(out, ".run.json")


def beside(out: Path, ending: str) -> Path:
    """What belongs to a table, named after all of its name but its kind."""
    stem = out.stem if out.suffix.lower() in KINDS else out.name
    return out.with_name(stem + ending)


def require_table_place(out: Path, *inputs: Path | None) -> None:
    """Raise ArtifactError where a table, or what belongs to it, would replace something else."""
    require_file_place(out, *inputs)
    table = slides_table(out)
    require_file_place(table, *inputs)
    require_file_place(run_record(out), *inputs)
    if table.is_file():
        with table.open(encoding="utf-8-sig", errors="replace") as stream:
            if PREFIX not in stream.readline():
                raise ArtifactError(
                    f"{table}: lies there, is no table of predictions, and would be replaced. "
                    "Give --out another name"
                )


def read_tile_predictions(path: Path) -> TilePredictions:
    """A table of tiles. Raises ArtifactError where it is none; see check_tiles, too."""
    columns, rows = read_rows(path)
    grades = tuple(name.removeprefix(PREFIX) for name in columns if name.startswith(PREFIX))
    if not {"slide_id", "l0_x", "l0_y"} <= set(columns) or len(grades) < 2:
        raise ArtifactError(
            f"{path}: no predictions of tiles. Expected slide_id, l0_x, l0_y and prob_<grade> "
            f"columns, as 'pathology predict' writes them; it has {', '.join(columns) or 'none'}"
        )
    if not rows:
        raise ArtifactError(
            f"{path}: no predictions of tiles, not one row. The column problem of "
            f"{slides_table(path).name} says why slides have none"
        )
    l0_xy = _numbers(path, rows, ["l0_x", "l0_y"])
    l0_edge = _numbers(path, rows, ["l0_edge"], blank="0")
    probability = _numbers(path, rows, [PREFIX + grade for grade in grades])
    numbers: dict[str, int] = {}
    slide_N = np.array([numbers.setdefault(row["slide_id"], len(numbers)) for row in rows])
    places = np.hstack([l0_xy, l0_edge])
    check_tiles(path, list(numbers), slide_N, places, probability)
    l0 = np.rint(places).astype(np.int64)
    return TilePredictions(
        grades, texts([row["slide_id"] for row in rows]), l0[:, :2], l0[:, 2], probability
    )


def check_tiles(
    path: Path,
    slide_ids: Sequence[str],
    slide_N: NDArray[np.int64],
    place_N3: NDArray[np.float64],
    probability_NC: NDArray[np.float64],
) -> None:
    """Raise ArtifactError where a tile has no probabilities, or stands there twice.

    Probabilities lie in 0-1 and add up to 1, give or take what rounding costs.

    slide_N   number of each tile's slide among slide_ids
    place_N3  l0_x, l0_y, l0_edge: refused where they are no numbers
    """
    is_wrong_N = ~np.isfinite(place_N3).all(axis=1)
    if is_wrong_N.any():
        row = int(is_wrong_N.argmax())
        where = _at(path, slide_ids[slide_N[row]], row)
        raise ArtifactError(f"{where}: its l0_x, l0_y or l0_edge is no number: predict again")
    is_wrong_N = ~_are_probabilities(probability_NC)
    if is_wrong_N.any():
        row = int(is_wrong_N.argmax())
        raise _no_probabilities(path, slide_ids[slide_N[row]], row, probability_NC[row])
    x_N, y_N = place_N3[:, 0], place_N3[:, 1]
    order = np.lexsort((y_N, x_N, slide_N))
    place = np.stack([slide_N, x_N, y_N], axis=1)[order]
    again = np.flatnonzero((place[1:] == place[:-1]).all(axis=1))
    if len(again):
        first = again[order[again + 1].argmin()]
        earlier, row = order[first], order[first + 1]
        raise ArtifactError(
            f"{_at(path, slide_ids[slide_N[row]], row)}: the tile at {x_N[row]:.0f}, "
            f"{y_N[row]:.0f} stands in row {earlier + 1}, too. Predict again, or leave one of them"
        )


def texts(values: Sequence[str]) -> NDArray[np.object_]:
    """Texts as an array, whatever their length."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


def read_slide_predictions(path: Path, grades: tuple[str, ...]) -> SlidePredictions:
    """A table of slides beside one of tiles.

    Raises ArtifactError where it is none, where a slide stands there twice, or where probabilities
    of a grade do not lie in 0-1 or do not add up to 1.
    """
    columns, rows = read_rows(path)
    names = [PREFIX + grade for grade in grades]
    if not {"slide_id", "grade", *names} <= set(columns):
        raise ArtifactError(f"{path}: no predictions of slides, as 'pathology predict' writes them")
    slide_ids = tuple(row["slide_id"] for row in rows)
    grade_S = [grades.index(row["grade"]) if row["grade"] in grades else -1 for row in rows]
    probability_SC = _numbers(path, rows, names, blank="nan")
    own_SC = _numbers(path, rows, [OWN_PREFIX + grade for grade in grades], blank="nan")
    l0_size = _numbers(path, rows, ["l0_width", "l0_height"], blank="0")
    first: dict[str, int] = {}
    for number, (slide_id, grade) in enumerate(zip(slide_ids, grade_S, strict=True)):
        if first.setdefault(slide_id, number) < number:
            raise ArtifactError(
                f"{_at(path, slide_id, number)}: it stands in row {first[slide_id] + 1}, too. "
                "Predict again, or leave one of them"
            )
        for row_C, is_needed in ((probability_SC[number], grade >= 0), (own_SC[number], False)):
            has_some = is_needed or not np.isnan(row_C).all()
            if has_some and not _are_probabilities(row_C):
                raise _no_probabilities(path, slide_id, number, row_C)
    return SlidePredictions(
        slide_ids,
        np.array(grade_S, np.int64),
        probability_SC,
        np.nan_to_num(l0_size, posinf=0, neginf=0).astype(np.int64),
        tuple(row["grade"] for row in rows),
        tuple(row.get("problem", "") for row in rows),
        grades,
        tuple(ANSWERS.get(row.get("is_taught", "").lower()) for row in rows),
        tuple(ANSWERS.get(row.get("is_picture", "").lower(), False) for row in rows),
        own_SC,
    )


def entropy_of(probability_C: NDArray[np.float64]) -> float:
    """Entropy of grades over its greatest value: 0 sure, 1 anything.

    >>> entropy_of(np.array([1.0, 0.0])), entropy_of(np.array([0.5, 0.5]))
    (0.0, 1.0)
    """
    nats = -(probability_C * np.log(np.maximum(probability_C, 1e-12))).sum()
    return abs(float(nats / np.log(len(probability_C))))


def sureness(grades: Sequence[str], grade: int, probability_C: NDArray[np.float64]) -> str:
    """How sure the grade of a slide is, for people.

    A grade between others may be the middle one and not probable itself: what was decided is that
    it is this one or a worse one.

    >>> sureness(("healthy", "low", "high"), 1, np.array([0.46, 0.04, 0.5]))
    'it or worse 0.54, entropy 0.76'
    >>> sureness(("healthy", "low", "high"), 0, np.array([0.9, 0.06, 0.04]))
    '0.90, entropy 0.36'
    """
    is_between = 0 < grade < len(grades) - 1
    chance = probability_C[grade:].sum() if is_between else probability_C[grade]
    said = "it or worse " if is_between else ""
    return f"{said}{chance:.2f}, entropy {entropy_of(probability_C):.2f}"


def read_rows(path: Path) -> Table:
    """Column names and rows of a table of predictions, as predict wrote it or a spreadsheet did.

    Raises ArtifactError where it cannot be read.
    """
    try:
        return read_csv(path)
    except ManifestError as error:
        raise ArtifactError(str(error)) from error


def _are_probabilities(values_NC: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether rows (N, C), or one (C,), are probabilities of classes, rounded or not."""
    is_inside = ((values_NC >= 0) & (values_NC <= 1)).all(axis=-1)
    return np.asarray(is_inside & (np.abs(values_NC.sum(axis=-1) - 1) <= SUM_TOLERANCE))


def _no_probabilities(
    path: Path, slide_id: str, row: int, row_C: NDArray[np.float64]
) -> ArtifactError:
    said = ", ".join(f"{value:g}" for value in row_C.tolist())
    is_inside = bool(((row_C >= 0) & (row_C <= 1)).all())
    wrong = f"add up to {row_C.sum():g}" if is_inside else "do not lie in 0-1"
    return ArtifactError(
        f"{_at(path, slide_id, row)}: its probabilities ({said}) {wrong}: predict again"
    )


def _at(path: Path, slide_id: str, row: int) -> str:
    """Where in a table, for people, who count from 1."""
    return f"{path}: {slide_id}, row {row + 1} below the header"


def _numbers(
    path: Path, rows: Sequence[Mapping[str, str]], names: Sequence[str], blank: str = ""
) -> NDArray[np.float64]:
    """Cells of some columns (N, len(names)); an empty one or none at all reads as blank."""
    try:
        cells = [[row.get(name) or blank for name in names] for row in rows]
        found = np.array(cells, np.float64)
    except ValueError:
        found = np.array(
            [
                [_number(path, number, row, name, blank) for name in names]
                for number, row in enumerate(rows)
            ],
            np.float64,
        )
    return found.reshape(len(rows), len(names))


def _number(path: Path, number: int, row: Mapping[str, str], name: str, blank: str) -> float:
    """One cell; a probability may have a decimal comma, which in a corner would part thousands."""
    text = row.get(name) or blank
    try:
        is_fraction = name.startswith((PREFIX, OWN_PREFIX))
        return float(text.replace(",", ".") if is_fraction else text)
    except ValueError as error:
        where = _at(path, row["slide_id"], number)
        raise ArtifactError(f"{where}: {name} is {text!r}, no number") from error
