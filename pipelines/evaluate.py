"""How good predictions are: tiles and slides, in all and in each centre, with intervals by case."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import write_text
from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.manifest import Manifest, SlideRecord, read_manifest
from pathology.core.table import csv_text
from pathology.evaluation.grading import (
    NUM_DRAWS,
    CaseCounts,
    Estimate,
    count_by_case,
    estimates,
    known_cases,
    table_rows,
)
from pathology.evaluation.grading_plots import draw_centres, draw_grading
from pipelines.left_out import Reason, facts_of, left_out, table_of
from pipelines.prediction_tables import (
    SlidePredictions,
    TilePredictions,
    read_slide_predictions,
    read_tile_predictions,
    slides_table,
    texts,
)
from pipelines.tile_truth import has_truth, truth_of_tiles

ALL = "all"
SHOWN = ("balanced_accuracy", "auroc", "kappa")


def evaluate(
    predictions: Path,
    labels: Path,
    out: Path,
    part: str = "",
    class_map: Mapping[str, str] = MappingProxyType({}),
    *,
    is_brief: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write OUT/metrics.json, metrics.csv, not_judged.csv and plots; returns what metrics.json has.

    part  of the manifest's column split that is judged; empty: test where any slide is marked so,
          else all slides
    class_map  a label's name among the grades, where it has another
    is_brief   figures alone, without their intervals and plots, which take most of the time
    say   told which slides are left out, a line for each reason

    Tiles are judged where the manifest names maps of grades, slides by their labels, and tiles by
    their slides' labels: none can be worse than its slide. Raises ConfigError where the predictions
    know none of the labels, ArtifactError for a table that is none.
    """
    tiles = read_tile_predictions(predictions)
    slides = read_slide_predictions(slides_table(predictions), tiles.grades)
    manifest = read_manifest(labels, needs_slides=False)
    everyone = {
        record.slide_id: replace(record, label=class_map.get(record.label, record.label))
        for record in manifest.slides
    }
    part, records = _of_part(everyone, part)
    if not any(name in records for name in slides.slide_ids):
        raise ArtifactError(_nothing_in_common(predictions, labels, part, manifest))
    reasons = left_out(predictions, tiles, slides, manifest, records)
    records = _known(records, reasons["unknown_labels"], tiles.grades)
    levels = {
        "slide": _slide_level(slides, records),
        "tile": _tile_level(tiles, slides, records, labels.parent),
    }
    out.mkdir(parents=True, exist_ok=True)
    lines = [reason.line() for reason in reasons.values() if reason.slides]
    for line in lines:
        say(line)
    facts: dict[str, Any] = {
        "note": "Research use only.",
        "predictions": str(predictions),
        "labels": str(labels),
        "grades": tiles.grades,
        "part": part,
        "not_judged": lines,
        "problems": {i: p for i, p in zip(slides.slide_ids, slides.problems, strict=True) if p},
        **facts_of(reasons),
    }
    facts["confusion"] = {level: items.confusion() for level, items in levels.items()}
    rows: list[dict[str, object]] = []
    for level, items in levels.items():
        found = _by_centre(items, tiles.grades, 0 if is_brief else NUM_DRAWS)
        facts[level] = {
            centre: {"num_cases": num, **{k: asdict(e) for k, e in estimate.items()}}
            for centre, (num, estimate) in found.items()
        }
        for centre, (num, estimate) in found.items():
            rows += table_rows(level, centre, {"num_cases": num}, estimate)
        if (items.truth_N >= 0).any() and not is_brief:
            counts = items.counts(np.ones(len(items.truth_N), np.bool_))
            draw_grading(counts, tiles.grades, out / f"{level}s.png", f"{level}s, all centres")
            if len(found) > 2:
                shown = {centre: estimate for centre, (_, estimate) in found.items()}
                draw_centres(shown, SHOWN, out / f"{level}s_by_centre.png", f"{level}s by centre")
    write_text(out / "metrics.json", json.dumps(_plain(facts), indent=1))
    names = ["level", "centre", "metric", "value", "low", "high", "num_cases"]
    write_text(out / "metrics.csv", csv_text([names, *([row[n] for n in names] for row in rows)]))
    write_text(out / "not_judged.csv", csv_text(table_of(reasons)))
    return facts


def _nothing_in_common(predictions: Path, labels: Path, part: str, manifest: Manifest) -> str:
    where = "" if part == ALL else f" in the part {part!r} of its column split"
    said = f"{predictions} and {labels} have no slide in common{where}"
    if not manifest.rejected:
        return said
    return f"{said}; {len(manifest.rejected)} of its rows cannot be used: {manifest.rejected[0]}"


def _known(
    records: dict[str, SlideRecord], unknown: Reason, grades: tuple[str, ...]
) -> dict[str, SlideRecord]:
    """The slides without the labels that are no grade.

    Raises ConfigError where no label is left.
    """
    found = {n: replace(r, label="") if n in unknown.slides else r for n, r in records.items()}
    if unknown.slides and not any(record.label for record in found.values()):
        name, said = next(iter(unknown.slides.items()))
        raise ConfigError(
            f"{name}: its label {said} is none of the grades that were predicted "
            f"({', '.join(grades)}), and neither is any other"
        )
    return found


def _of_part(records: dict[str, SlideRecord], part: str) -> tuple[str, dict[str, SlideRecord]]:
    """The slides of a part; of none named, those that test, so that none trained on is judged."""
    if not part:
        part = "test" if any(record.split == "test" for record in records.values()) else ALL
    if part == ALL:
        return part, records
    return part, {name: record for name, record in records.items() if record.split == part}


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


def _by_centre(
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


def _slide_level(slides: SlidePredictions, records: dict[str, SlideRecord]) -> Items:
    rows = [
        number
        for number, name in enumerate(slides.slide_ids)
        if name in records and records[name].label and slides.grade_S[number] >= 0
    ]
    mine = [records[slides.slide_ids[number]] for number in rows]
    names = list(slides.grade_names)
    truth = np.array([names.index(record.label) for record in mine], np.int64)
    return Items(
        slides.probability_SC[rows], truth, texts([r.case_id or r.slide_id for r in mine]),
        texts([r.centre for r in mine]), truth, slides.grade_S[rows],
    )  # fmt: skip


def _tile_level(
    tiles: TilePredictions,
    slides: SlidePredictions,
    records: dict[str, SlideRecord],
    root: Path,
) -> Items:
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
            truth[rows] = truth_of_tiles(
                record, tiles.l0_xy[rows], int(tiles.l0_edge_N[rows][0]), (width, height), root
            )
    known = np.array([name in records for name in tiles.slide_N], np.bool_)
    probability = tiles.probability_NC[known]
    return Items(
        probability, truth[known], case[known], centre[known], limit[known],
        probability.argmax(axis=1),
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """The value for JSON, which knows no nan."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
