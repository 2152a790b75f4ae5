"""What the later stages of a run left, as sections of its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathology.core.errors import ArtifactError
from pathology.core.output_place import run_folder
from pathology.evaluation.sections import (
    Facts,
    Picture,
    Section,
    Table,
    card_facts,
    estimate_text,
    figure_table,
    limits_section,
)
from pipelines.run_config import RunFolder

ALL = "all"
LEVELS = {"slide": "Slides", "slide_own": "Slides by the method itself", "tile": "Tiles"}
KINDS = {"source": "slides alone", "target": "labels of the pictures that do not test"}


def sections_of(run: Path) -> list[Section]:
    """Sections on classifiers and figures, and limits; none where nothing was trained."""
    folder = RunFolder(run)
    found = [_slides(folder), _microscope(folder)]
    there = [section for section in found if section is not None]
    return [*there, *_stages(folder), limits_section()] if there else []


def _stages(folder: RunFolder) -> list[Section]:
    """What was done when, in how long, and by which fingerprint of settings and inputs."""
    try:
        rows = [
            [name, str(made["finished"]), f"{made['seconds']:,.0f} s", str(made["recipe"])]
            for name, made in _ended(folder).items()
        ]
    except (ValueError, KeyError, TypeError):
        return []
    if not rows:
        return []  # trained by single commands
    heads = ["stage", "finished", "took", "fingerprint"]
    text = ["Settings of the trainings, their seeds among them, stand in the model cards."]
    return [Section("stages", "Stages of the run", text, (), [Table(heads, rows)], ())]


def _ended(folder: RunFolder) -> Mapping[str, Any]:
    """What is known of the stages that ended well; nothing where there was no run."""
    try:
        stages = json.loads(folder.record.read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return stages if isinstance(stages, dict) else {}


def _outdated(folder: RunFolder, names: Sequence[str]) -> list[str]:
    """A remark where the last run did not come to the end of some of these stages."""
    ended = _ended(folder)
    missing = [name for name in names if name not in ended]
    if len(missing) in (0, len(names)):  # all of one run, or by single commands
        return []
    return [
        f"The last run did not finish {' and '.join(missing)}: figures, grades and maps shown here "
        "are of an earlier one."
    ]


def _slides(folder: RunFolder) -> Section | None:
    card = _card(folder.weak)
    if not card:
        return None
    found = _metrics(folder.evaluation)
    pictures = [
        (folder.evaluation / "slides.png", "Slides: confusion, curves of every step, calibration."),
        (folder.evaluation / "tiles.png", "Tiles, where their own grade is known."),
        (folder.evaluation / "slides_by_centre.png", "Slides of each centre, with intervals."),
        (run_folder(folder.weak) / "curves.png", "Training."),
    ]
    text = [
        "A classifier of tiles was taught by the slides' diagnoses alone, and grades slides by its "
        "tiles. The map beside each slide below shows every tile's grade."
    ]
    tables = [
        figure_table(found[level], f"{title}, {_part(found)}. Value and 95 % interval, by case.")
        for level, title in LEVELS.items()
        if found.get(level)
    ]
    return Section(
        "grades", "Grades of slides and tiles", text,
        [*_outdated(folder, ("weak", "predict", "evaluate")), *_remarks(found)], tables,
        _pictures(pictures), {"Model card: slides": card},
    )  # fmt: skip


def _microscope(folder: RunFolder) -> Section | None:
    models = sorted(folder.microscope.glob("*.pt"))
    cards = {path.stem: card for path in models if (card := _card(path))}
    if not cards:
        return None
    order = sorted(cards, key=lambda name: (name == "target", name != "source", name))
    judged = {name: _metrics(folder.scope_evaluation(name)) for name in order}
    truths = sorted({str(m["tile_truth"]) for m in judged.values() if m.get("tile_truth")})
    truth = "; ".join(truths) or "maps of grades"
    tables = [
        _methods_table({n: m[level][ALL] for n, m in judged.items() if m.get(level)}, title)
        for level, title in (("slide", "Pictures"), ("tile", f"Their tiles, by {truth}"))
    ]
    main = [name for name in order if name not in KINDS] or order
    pictures = []
    for name in main:
        beside = run_folder(folder.adapted(name))
        evaluation = folder.scope_evaluation(name)
        pictures += [
            (evaluation / "slides.png", f"{name}, pictures: confusion, curves, calibration."),
            (beside / "domains.png", f"{name}: tiles of both domains before and after."),
            (
                beside / "differences.png",
                f"{name}: tiles on which both differ most.",
            ),
            (beside / "curves.png", f"{name}: training."),
        ]
    text = [
        "The classifier was carried to the microscope's pictures without a label of theirs. Where "
        "they have labels, these only judge, but for the row that says otherwise."
    ]
    return Section(
        "microscope", "At the microscope", text, _outdated(folder, ("adapt", "microscope")),
        [t for t in tables if t.rows],
        _pictures(pictures), {f"Model card: {name}": cards[name] for name in order},
    )  # fmt: skip


def _methods_table(found: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """A row for each classifier: what taught it, and how good it is."""
    rows = [
        [
            name, KINDS.get(name, "slides, and unlabelled pictures"),
            *(estimate_text(one.get(key)) for key in ("balanced_accuracy", "auroc", "ece")),
            str(one["num_cases"]),
        ]
        for name, one in found.items()
        if estimate_text(one.get("balanced_accuracy"))
    ]  # fmt: skip
    heads = ["method", "taught by", "balanced accuracy", "AUROC", "ECE", "cases"]
    return Table(heads, rows, f"{title}. Value and 95 % interval, by case.")


def _remarks(found: Mapping[str, Any]) -> list[str]:
    others = {
        n: p for n, p in found.get("problems", {}).items() if n not in found.get("failed", {})
    }
    said = [f"{name}: {problem.rstrip('.')}" for name, problem in others.items()]
    said += found.get("not_judged", [])
    if found.get("part") == ALL and found.get("judged_taught") != []:
        said.append(
            "no slide is marked test: slides that taught are judged here, too, and figures flatter"
        )
    return said


def _part(found: Mapping[str, Any]) -> str:
    part = found.get("part", ALL)
    return "all" if part == ALL else f"of the part {part!r} alone"


def _card(path: Path) -> Facts:
    """A model's card; nothing where there is no model, or a damaged one."""
    if not path.is_file():
        return ()
    from pathology.models.card import load_classifier  # loads torch

    try:
        return card_facts(load_classifier(path)[0])
    except ArtifactError:
        return ()


def _metrics(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _pictures(paths: list[tuple[Path, str]]) -> list[Picture]:
    return [Picture(path.read_bytes(), said) for path, said in paths if path.is_file()]
