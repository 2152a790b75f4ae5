"""What an evaluation judges: tiles and slides with their truth, and figures of them by centre.

N items, tiles or slides; C grades.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import SlideError
from pathology.core.manifest import SlideRecord
from pathology.evaluation.grading import (
    CaseCounts,
    Estimate,
    count_by_case,
    estimates,
    known_cases,
)
from pipelines.prediction_tables import SlidePredictions, TilePredictions, texts
from pipelines.tile_truth import has_truth, truth_of_tiles

ALL = "all"
BY_MAPS, BY_LABELS = "maps of grades", "picture labels"  # what tiles are judged by


@dataclass(frozen=True, eq=False)
class Items:
    """Tiles or slides, whatever is judged: see count_by_case."""

    probability_NC: NDArray[np.float64]
    truth_N: NDArray[np.int64]
    case_N: NDArray[np.object_]
    centre_N: NDArray[np.object_]
    limit_N: NDArray[np.int64]
    predicted_N: NDArray[np.int64]

    def confusion(self) -> list[list[int]]:
        """How many items of each true grade (rows) were given each grade (columns)."""
        known, num = self.truth_N >= 0, self.probability_NC.shape[1]
        pairs = self.truth_N[known] * num + self.predicted_N[known]
        found: list[list[int]] = np.bincount(pairs, minlength=num**2).reshape(num, num).tolist()
        return found

    def counts(self, chosen: NDArray[np.bool_]) -> CaseCounts:
        """Counts of the cases of some items."""
        _, case = np.unique(self.case_N[chosen].astype(str), return_inverse=True)
        return count_by_case(
            self.probability_NC[chosen], self.truth_N[chosen], case, self.limit_N[chosen],
            self.predicted_N[chosen],
        )  # fmt: skip


def by_centre(
    items: Items, grades: tuple[str, ...], num_draws: int
) -> dict[str, tuple[int, dict[str, Estimate]]]:
    """Figures of all items and of those of each centre, with the number of cases behind them.

    Those are the cases with an item of known grade, if there is any.
    """
    centres = sorted({str(c) for c in items.centre_N if c})
    chosen = {ALL: np.ones(len(items.truth_N), np.bool_)}
    chosen |= {centre: items.centre_N == centre for centre in centres if len(centres) > 1}
    found = {}
    for name, rows in chosen.items():
        if rows.any():
            counts = items.counts(rows)
            num = int(known_cases(counts).sum()) or len(counts.upper_K2)
            found[name] = (num, estimates(counts, grades, num_draws=num_draws))
    return found


def slide_level(slides: SlidePredictions, records: dict[str, SlideRecord]) -> Items:
    """Slides that have a grade, by the rule from tiles to slides, and a label."""
    rows = _judged_rows(slides, records)
    return _slides(slides, records, rows, slides.probability_SC[rows], slides.grade_S[rows])


def own_level(slides: SlidePredictions, records: dict[str, SlideRecord]) -> Items:
    """The same by the method itself, where it has an answer: its most probable grade."""
    rows = [row for row in _judged_rows(slides, records) if not np.isnan(slides.own_SC[row]).any()]
    own = slides.own_SC[rows]
    return _slides(slides, records, rows, own, own.argmax(axis=1))


def _judged_rows(slides: SlidePredictions, records: dict[str, SlideRecord]) -> list[int]:
    return [
        number
        for number, name in enumerate(slides.slide_ids)
        if name in records and records[name].label and slides.grade_S[number] >= 0
    ]


def _slides(
    slides: SlidePredictions,
    records: dict[str, SlideRecord],
    rows: list[int],
    probability_SC: NDArray[np.float64],
    grade_S: NDArray[np.int64],
) -> Items:
    mine = [records[slides.slide_ids[number]] for number in rows]
    names = list(slides.grade_names)
    truth = np.array([names.index(record.label) for record in mine], np.int64)
    return Items(
        probability_SC, truth, texts([r.case_id or r.slide_id for r in mine]),
        texts([r.centre for r in mine]), truth, grade_S,
    )  # fmt: skip


def tile_level(
    tiles: TilePredictions,
    slides: SlidePredictions,
    records: dict[str, SlideRecord],
    root: Path,
    problems: dict[str, str],
) -> Items:
    """Tiles of the slides that are judged, with their truth where it is known.

    problems  gets why the truth of a slide's tiles is not, though the manifest names a map
    Maps of grades say it; or a picture's label, which all of it has. A slide's label is that of its
    worst tissue, and no tile's.
    """
    place = {name: number for number, name in enumerate(slides.slide_ids)}
    truth = np.full(len(tiles.slide_N), -1, np.int64)
    limit, case, centre = truth.copy(), tiles.slide_N.copy(), np.full(len(truth), "", object)
    records = {name: record for name, record in records.items() if name in place}
    for name, rows in tiles.by_slide().items():
        record = records.get(name)
        if record is None:
            continue
        case[rows], centre[rows] = record.case_id or name, record.centre
        limit[rows] = tiles.grades.index(record.label) if record.label else -1
        if has_truth(record):
            width, height = slides.l0_size_S2[place[name]].tolist()
            edge, size = int(tiles.l0_edge_N[rows][0]), (width, height)
            try:
                truth[rows] = truth_of_tiles(
                    record, tiles.l0_xy[rows], edge, size, root, tiles.grades
                )
            except SlideError as fault:
                problems[name] = fault.reason
        elif slides.is_picture[place[name]]:
            truth[rows] = limit[rows]
    known = np.array([name in records for name in tiles.slide_N], np.bool_)
    probability = tiles.probability_NC[known]
    return Items(
        probability, truth[known], case[known], centre[known], limit[known],
        probability.argmax(axis=1),
    )  # fmt: skip


def tile_truth(
    tiles: TilePredictions, slides: SlidePredictions, records: dict[str, SlideRecord]
) -> str | None:
    """Where the truth of the tiles that are judged comes from, in words; None: of none is known."""
    there = set(tiles.slide_N.tolist())
    mine = [
        (records[name], is_picture)
        for name, is_picture in zip(slides.slide_ids, slides.is_picture, strict=True)
        if name in records and name in there
    ]
    said = {BY_MAPS for record, _ in mine if has_truth(record)}
    said |= {BY_LABELS for r, is_picture in mine if is_picture and r.label and not has_truth(r)}
    return ", ".join(sorted(said)) or None
