"""How good predictions are: tiles and slides, in all and in each centre, with intervals by case."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from pathology.core.artifact import write_text
from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.manifest import Manifest, SlideRecord, read_manifest
from pathology.core.table import csv_text, first_lines, first_of
from pathology.evaluation.grading import NUM_DRAWS, Estimate, table_rows
from pathology.evaluation.grading_plots import draw_centres, draw_grading
from pipelines.class_map import require_grades
from pipelines.evaluate_levels import (
    ALL,
    Items,
    by_centre,
    own_level,
    slide_level,
    tile_level,
    tile_truth,
)
from pipelines.evaluate_taught import (
    TEST,
    Answers,
    Judged,
    class_map_of,
    read_answers,
    without_taught,
)
from pipelines.left_out import Reason, facts_of, left_out, table_of

SHOWN = ("balanced_accuracy", "auroc", "kappa")
MAX_TOLD = 5
NAMES = {"slide": "slides", "slide_own": "slides_own", "tile": "tiles"}  # of levels, for files


def evaluate(
    predictions: Path | Sequence[Path],
    labels: Path,
    out: Path,
    part: str = "",
    class_map: Mapping[str, str] = MappingProxyType({}),
    *,
    root: Path | None = None,
    is_brief: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write OUT/metrics.json, metrics.csv, not_judged.csv and plots; returns what metrics.json has.

    predictions  a table, or one for each fold: each slide is judged by the model that it did not
          teach
    part  of the manifest's column split that is judged; empty: test where any slide is marked so,
          else all slides, of which those that taught the model are left out
    class_map  a label's name among the grades, where it has another; others as the model has them
    root  where relative paths of maps start; None: where the manifest lies
    is_brief   figures alone, without their intervals and plots, which take most of the time
    say   told which slides are left out, a line for each reason

    Tiles are judged where the manifest names maps of grades, slides by their labels, and tiles by
    their slides' labels: none can be worse than its slide. Tiles of a flat picture without a map
    have the picture's label; tile_truth says so. Raises ConfigError where the predictions know none
    of the labels, or class_map names no grade, ArtifactError for a table that is none, and where
    slides of the part test taught, or all did.
    """
    paths = [predictions] if isinstance(predictions, Path) else list(predictions)
    manifest = read_manifest(labels, needs_slides=False)
    known_as = class_map_of(paths[0]) | dict(class_map)
    everyone = {
        record.slide_id: replace(record, label=known_as.get(record.label, record.label))
        for record in manifest.slides
    }
    part = part.lower()
    asked, (part, records) = part, _of_part(everyone, part, len(paths))
    answers = read_answers(paths, everyone, records)
    if not _in_common(answers, records):
        raise ArtifactError(_nothing_in_common(answers, labels, part, manifest))
    grades = answers.tiles.grades
    require_grades(class_map, grades, {record.label for record in manifest.slides}, say)
    _require_known_labels(records, grades)
    judged = without_taught(answers, asked, part, records)
    names = (answers.table, answers.slides_table)
    others = left_out(names, answers.tiles, answers.slides, manifest, judged.records)
    reasons = {"taught": judged.left, **others}
    records = _known(judged.records, reasons["unknown_labels"])
    lost: dict[str, str] = {}
    levels = {
        "slide": slide_level(answers.slides, records),
        "slide_own": own_level(answers.slides, records),
        "tile": tile_level(answers.tiles, answers.slides, records, root or labels.parent, lost),
    }
    if not len(levels["slide_own"].truth_N):
        del levels["slide_own"]  # a method of tiles, or a model that was adapted
    out.mkdir(parents=True, exist_ok=True)
    _remove_pictures(out)
    lines = [reason.line() for reason in reasons.values() if reason.slides]
    for line in [*lines, *_flattering(judged), *_lost(lost)]:
        say(line)
    problems = zip(answers.slides.slide_ids, answers.slides.problems, strict=True)
    facts: dict[str, Any] = {
        "note": "Research use only.",
        "predictions": str(paths[0]) if len(paths) == 1 else [str(path) for path in paths],
        "labels": str(labels),
        "grades": grades,
        "part": part,
        "not_judged": lines,
        "judged_taught": judged.taught,
        "problems": {name: problem for name, problem in problems if problem},
        "no_tile_truth": lost,
        "tile_truth": tile_truth(answers.tiles, answers.slides, records),
        **facts_of(reasons),
        "confusion": {level: items.confusion() for level, items in levels.items()},
    }
    rows: list[dict[str, object]] = []
    for level, items in levels.items():
        found = by_centre(items, grades, 0 if is_brief else NUM_DRAWS)
        facts[level] = {
            centre: {"num_cases": num, **{k: asdict(e) for k, e in estimate.items()}}
            for centre, (num, estimate) in found.items()
        }
        for centre, (num, estimate) in found.items():
            rows += table_rows(level, centre, {"num_cases": num}, estimate)
        if not is_brief:
            _draw(items, {c: estimate for c, (_, estimate) in found.items()}, grades, out, level)
    write_text(out / "metrics.json", json.dumps(_plain(facts), indent=1))
    heads = ["level", "centre", "metric", "value", "low", "high", "num_cases"]
    write_text(out / "metrics.csv", csv_text([heads, *([row[n] for n in heads] for row in rows)]))
    write_text(out / "not_judged.csv", csv_text(table_of(reasons)))
    return facts


def judged_slides(facts: Mapping[str, Any]) -> str:
    """Which slides the figures of metrics.json are of, in words."""
    said = "all slides" if facts["part"] == ALL else f"{facts['part']} slides"
    if facts["taught"]:
        said += " that did not teach the model"
    if facts["judged_taught"] is None:
        said += "; which of them taught the model is not known"
    return said


def _remove_pictures(out: Path) -> None:
    """Remove those of an earlier evaluation, of which this one may draw fewer."""
    for name in NAMES.values():
        for path in (out / f"{name}.png", out / f"{name}_by_centre.png"):
            path.unlink(missing_ok=True)


def _lost(problems: Mapping[str, str]) -> list[str]:
    """A line for each of the first slides whose tiles cannot be judged, though they have a map."""
    lines = [f"tiles not judged: {name}: {why}" for name, why in problems.items()]
    return first_lines(lines, MAX_TOLD)


def _draw(
    items: Items,
    found: Mapping[str, Mapping[str, Estimate]],
    grades: tuple[str, ...],
    out: Path,
    level: str,
) -> None:
    """Pictures of a level, where anything is known of it."""
    if not (items.truth_N >= 0).any():
        return
    name = NAMES[level]
    title = name.replace("slides_own", "slides by the method itself")
    counts = items.counts(np.ones(len(items.truth_N), np.bool_))
    draw_grading(counts, grades, out / f"{name}.png", f"{title}, all centres")
    if len(found) > 2:
        draw_centres(found, SHOWN, out / f"{name}_by_centre.png", f"{title}, by centre")


def _flattering(judged: Judged) -> list[str]:
    """A line where slides that taught are judged all the same."""
    if not judged.taught:
        return []
    return [
        f"{len(judged.taught)} of {len(judged.records)} slides are judged that have the names of "
        "slides or cases that taught the model or chose it "
        f"({first_of(judged.taught)}): if they are the same, figures flatter"
    ]


def _in_common(answers: Answers, records: Mapping[str, SlideRecord]) -> bool:
    """Whether the predictions know any of the slides, if only as one that is not to be judged."""
    return any(name in records for name in (*answers.slides.slide_ids, *(answers.taught or ())))


def _require_known_labels(records: Mapping[str, SlideRecord], grades: tuple[str, ...]) -> None:
    """Raise ConfigError where there are labels, and none of them is a grade."""
    labelled = {name: record.label for name, record in records.items() if record.label}
    if labelled and not set(labelled.values()) & set(grades):
        name, label = next(iter(labelled.items()))
        raise ConfigError(
            f"{name}: its label {label!r} is none of the grades that were predicted "
            f"({', '.join(grades)}), and neither is any other. Say which it means: "
            f"--class-map '{label}={grades[0]}'"
        )


def _known(records: dict[str, SlideRecord], unknown: Reason) -> dict[str, SlideRecord]:
    """The slides without the labels that are no grade."""
    return {n: replace(r, label="") if n in unknown.slides else r for n, r in records.items()}


def _of_part(
    records: dict[str, SlideRecord], part: str, num_models: int
) -> tuple[str, dict[str, SlideRecord]]:
    """The slides of a part; of none named, those that test; of several models, all."""
    if not part:
        is_marked = num_models == 1 and any(r.split == TEST for r in records.values())
        part = TEST if is_marked else ALL
    if part == ALL:
        return part, records
    return part, {name: record for name, record in records.items() if record.split == part}


def _nothing_in_common(answers: Answers, labels: Path, part: str, manifest: Manifest) -> str:
    where = "" if part == ALL else f" in the part {part!r} of its column split"
    said = f"{answers.table} and {labels} have no slide in common{where}"
    if not manifest.rejected:
        return said
    return f"{said}; {len(manifest.rejected)} of its rows cannot be used: {manifest.rejected[0]}"


def _plain(value: Any) -> Any:
    """The value for JSON, which knows no nan."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
