"""Which slides an evaluation may judge by which model: not those that it learned from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pathology.core.errors import ArtifactError
from pathology.core.manifest import SlideRecord
from pathology.core.slide_digest import digests_of
from pathology.core.table import first_of
from pipelines.left_out import Reason
from pipelines.prediction_tables import (
    SlidePredictions,
    TilePredictions,
    read_slide_predictions,
    read_tile_predictions,
    run_record,
    slides_table,
)
from pipelines.tile_truth import has_truth

Records = Mapping[str, SlideRecord]
Table = TypeVar("Table", TilePredictions, SlidePredictions)
TEST = "test"


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of a model, or those of several put together.

    table, slides_table  the tables of tiles and of slides, for people
    taught  slides of which no table may judge any: the model learned from them, or was chosen by
            them; None: not known
    """

    table: str
    slides_table: str
    tiles: TilePredictions
    slides: SlidePredictions
    taught: frozenset[str] | None
    num_models: int = 1


class Judged(NamedTuple):
    """Slides that are judged.

    left     those that are not, since they taught
    taught   those of them that taught, as was asked for; None: not known
    """

    records: dict[str, SlideRecord]
    left: Reason
    taught: list[str] | None


def read_answers(paths: Sequence[Path], everyone: Records, judged: Records) -> Answers:
    """Tables of predictions; of several models each slide by the one that it did not teach.

    everyone  all rows of the manifest, which says which slides are of one case
    judged    those of them that are judged
    Raises ArtifactError where one is no table of predictions, where several are of other grades or
    do not say what taught, and where two of them judge one slide.
    """
    each = [_read(path, everyone) for path in paths]
    return each[0] if len(each) == 1 else _together(paths, each, judged)


def without_taught(answers: Answers, asked: str, part: str, records: Records) -> Judged:
    """The slides of a part that are judged, and those that taught.

    Slides are known by their names, and others may have the same: so those of a part that was asked
    for, or is marked test, are judged all, as are those of which none would be left.

    asked  the part as it was asked for; "": none was
    Raises ArtifactError where of several tables none may judge any.
    """
    taught = answers.taught or frozenset()
    found = [name for name in records if name in taught]
    rest = {name: record for name, record in records.items() if name not in taught}
    is_known, is_one = answers.taught is not None, answers.num_models == 1
    there = {*answers.slides.slide_ids, *answers.tiles.slide_N.tolist()}
    is_none_left = not any(can_be_judged(rest[name]) for name in rest if name in there)
    if is_one and (asked or part == TEST or is_none_left):
        return Judged(dict(records), _left([]), found if is_known else None)
    if found and is_none_left:
        raise ArtifactError(
            f"{answers.table}: all slides that have a label taught its model, or chose it "
            f"({first_of(found)}). Give the table of every fold"
        )
    return Judged(rest, _left(found, answers.num_models), [] if is_known else None)


def can_be_judged(record: SlideRecord) -> bool:
    """Whether the manifest says what is true of a slide, or of its tiles."""
    return bool(record.label) or has_truth(record)


def _left(slide_ids: Iterable[str], num_models: int = 1) -> Reason:
    """Why slides are left out; num_models: none of which may judge them."""
    why, remedy = "cases that taught the model or chose it", "--split all judges them, too"
    if num_models > 1:
        why, remedy = "cases that taught each model that was given", "Give the table of every fold"
    return Reason("not judged", why, remedy, dict.fromkeys(slide_ids, ""))


def _read(path: Path, everyone: Records) -> Answers:
    tiles, table = read_tile_predictions(path), slides_table(path)
    slides = read_slide_predictions(table, tiles.grades)
    return Answers(path.name, table.name, tiles, slides, _taught(path, slides, everyone))


def _taught(path: Path, slides: SlidePredictions, everyone: Records) -> frozenset[str] | None:
    """Slides that taught the model, and all others of their cases, as far as the manifest knows."""
    digests = _digests_of_run(path)
    if not digests and all(said is None for said in slides.is_taught):
        return None
    found = {name for name, said in zip(slides.slide_ids, slides.is_taught, strict=True) if said}
    found |= {
        name for name, r in everyone.items() if not digests.isdisjoint(digests_of(name, r.case_id))
    }
    cases = {everyone[name].case_id for name in found if name in everyone} - {""}
    return frozenset(found | {name for name, r in everyone.items() if r.case_id in cases})


def class_map_of(path: Path) -> dict[str, str]:
    """How the model of a table calls classes that have other names in labels."""
    said = _said_by_run(path, "class_map")
    return {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}


def _digests_of_run(path: Path) -> set[str]:
    """Of slides and cases that taught."""
    said = _said_by_run(path, "taught")
    return set(map(str, said)) if isinstance(said, list) else set()  # else the table of slides says


def _said_by_run(path: Path, name: str) -> Any:
    """A fact of the record that predict left beside a table; None where there is none."""
    try:
        return json.loads(run_record(path).read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError, AttributeError):
        return None  # written before, or not taken along


def _together(paths: Sequence[Path], each: Sequence[Answers], judged: Records) -> Answers:
    """Of several tables what each says of slides that did not teach its model."""
    first, owner = each[0], dict[str, int]()
    for number, one in enumerate(each):
        if one.taught is None:
            raise ArtifactError(
                f"{slides_table(paths[number])}: it does not say which slides taught its model, "
                "so that nobody knows which it may judge beside others. Train and predict again"
            )
        if one.tiles.grades != first.tiles.grades:
            raise ArtifactError(
                f"{paths[number]}: its grades are {', '.join(one.tiles.grades)}, and those of "
                f"{paths[0]} {', '.join(first.tiles.grades)}. Judge them apart"
            )
        for name in sorted(_slides_in(one) - one.taught):
            before = owner.setdefault(name, number)
            if before != number and name in judged and can_be_judged(judged[name]):
                raise ArtifactError(
                    f"{name}: both {paths[before]} and {paths[number]} judge it, whose models "
                    "did not learn from it. Give one table for each fold, or ask for a --split "
                    "that the slide is not in"
                )
    taught = frozenset.intersection(*(one.taught for one in each if one.taught is not None))
    alone = set().union(*map(_slides_in, each)) - set(owner)
    return Answers(
        "tables of tiles", "tables of slides",
        _joined([one.tiles for one in each], owner, "grades"),
        _joined([one.slides for one in each], owner, "grade_names"), taught | alone, len(each),
    )  # fmt: skip


def _slides_in(one: Answers) -> set[str]:
    return {*one.slides.slide_ids, *one.tiles.slide_N.tolist()}


def _joined(tables: Sequence[Table], owner: Mapping[str, int], shared: str) -> Table:
    """The rows of each table's own slides, one table after the other; shared: what has no rows."""
    rows_of = [
        [row for row, name in enumerate(ids) if owner.get(name) == number]
        for number, ids in enumerate(_ids(table) for table in tables)
    ]

    def joined(name: str) -> Any:
        parts = [getattr(table, name) for table in tables]
        if name == shared:
            return parts[0]
        if isinstance(parts[0], tuple):
            return tuple(
                part[row] for part, rows in zip(parts, rows_of, strict=True) for row in rows
            )
        return np.concatenate([part[rows] for part, rows in zip(parts, rows_of, strict=True)])

    return type(tables[0])(**{field.name: joined(field.name) for field in fields(tables[0])})


def _ids(table: TilePredictions | SlidePredictions) -> Sequence[str]:
    """The slide of each row."""
    return table.slide_N.tolist() if isinstance(table, TilePredictions) else table.slide_ids
