"""Grades of tiles and slides by a trained classifier, as two tables."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import alone_in, publish, write_text
from pathology.core.errors import ArtifactError, reason_of
from pathology.core.run_record import environment, now, num_cores, write_run_record
from pathology.core.slide_digest import digests_of
from pathology.core.table import csv_text
from pathology.models.card import require_match
from pathology.weak.slide_rule import decide
from pipelines.classifier import Classifier, load_for_use
from pipelines.prediction_tables import (
    OWN_PREFIX,
    PREFIX,
    beside,
    entropy_of,
    require_table_place,
    run_record,
    slides_table,
    sureness,
)
from pipelines.scoring import FAULTS, Scored, Scoring, Spent
from pipelines.tile_places import places_of
from pipelines.weak_inputs import TiledSlide, read_tiled, without_tiles

DECIMALS = 6  # of the probabilities in the tables


@dataclass(frozen=True)
class SlideGrade:
    """A slide's row in the table of slides; problem says why there is no grade.

    sureness how sure the grade is, for people
    entropy  of the grades' probabilities over its greatest value: 0 sure, 1 anything
    l0_offset  corner of the scanned bounds, which QuPath counts from; mpp is that of level 0
    own_C    probabilities by the method itself, where it has an answer to slides
    is_picture  whether it is a flat picture, and no slide
    """

    slide_id: str
    num_tiles: int = 0
    grade: str = ""
    sureness: str = ""
    probability_C: tuple[float, ...] = ()
    entropy: float = float("nan")
    l0_size: tuple[int, int] = (0, 0)
    l0_offset: tuple[int, int] = (0, 0)
    mpp: float | None = None
    problem: str = ""
    own_C: tuple[float, ...] = ()
    is_picture: bool = False

    def line(self) -> str:
        """For people."""
        if self.problem:
            return f"{self.slide_id}: failed, {self.problem}"
        return f"{self.slide_id}: {self.grade} ({self.sureness})"


def predict(
    model_path: Path,
    path: Path,
    out: Path,
    *,
    device: str = "cpu",
    weights: Path | None = None,
    only: Collection[str] | None = None,
    on_slide: Callable[[SlideGrade], None] = lambda grade: None,
    on_tiles: Callable[[int], None] = lambda num: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[SlideGrade]:
    """Write OUT, a row for each tile, and OUT's .slides.csv, a row for each slide.

    only  ids of the slides to grade; None: all that the path holds
    on_tiles  told how many more tiles were scored
    say   told how fast it went, and of what the model's training warned; OUT's .run.json has the
          seconds, and digests of all that taught

    Slides are scored in turn and kept, so that a stopped run goes on. Raises ContractError where
    tiles are not what the model was taught on, ArtifactError where OUT is a folder or an input.
    """
    require_table_place(out, model_path, path, weights)
    started, (kind, slides, problems) = now(), read_tiled(path)
    problems += without_tiles(path, kind)
    is_of_maps = any(slide.tiles.blocks_left for slide in slides)
    classifier = load_for_use(
        model_path, device, weights, is_pixels=kind == "pixels", is_of_maps=is_of_maps
    )
    failed = [line.partition(": ")[::2] for line in problems]
    grades = [SlideGrade(name, problem=said) for name, said in failed if _is_meant(name, only)]
    slides = [slide for slide in slides if _is_meant(slide.record.slide_id, only)]
    parts = out.with_name(f".{beside(out, '').name}.{classifier.fingerprint}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    for grade in grades:
        on_slide(grade)
    for slide in slides:
        require_match(classifier.card.tiles, slide.tiles, slide.record.slide_id)
    with alone_in(parts):
        scored, spent = _score(classifier, slides, parts, on_slide, on_tiles)
        _write(out, classifier, slides, grades, scored, parts)
    facts = {
        "stage": "predict", "model": classifier.fingerprint, "device": device,
        "seconds": asdict(spent), "taught": classifier.card.taught,
        "class_map": classifier.card.settings.get("class_map", {}),
    }  # fmt: skip
    write_run_record(run_record(out), started, facts, environment())
    _sweep(out)
    if spent.num_tiles:
        say(spent.line())
    for line in classifier.card.warnings:
        say(f"The model was saved with a {line}")
    return [*grades, *scored]


def _score(
    classifier: Classifier,
    slides: Sequence[TiledSlide],
    parts: Path,
    on_slide: Callable[[SlideGrade], None],
    on_tiles: Callable[[int], None],
) -> tuple[list[SlideGrade], Spent]:
    """Grades of slides, whose tiles' rows are put into a folder, or found there; the time spent."""
    asked = [slide for slide in slides if _kept(classifier, slide, parts) is None]
    grades = []
    with ThreadPoolExecutor(num_cores()) as pool:
        scoring = Scoring(classifier, pool, on_tiles)
        scored = scoring(asked)
        for slide in slides:
            kept = _kept(classifier, slide, parts)
            grades.append(_grade(classifier, kept or next(scored), parts, kept is None))
            on_slide(grades[-1])
    return grades, scoring.spent


def _write(
    out: Path,
    classifier: Classifier,
    slides: Sequence[TiledSlide],
    without: Sequence[SlideGrade],
    scored: Sequence[SlideGrade],
    parts: Path,
) -> None:
    """Both tables: of the tiles of slides that were scored, and of all slides."""
    names = _columns(classifier.card.grades)
    with publish(out) as scratch, scratch.open("w", encoding="utf-8") as stream:
        stream.write(csv_text([["slide_id", "l0_x", "l0_y", "l0_edge", *names]]))
        for slide, grade in zip(slides, scored, strict=True):
            if not grade.problem:
                with _part_of(slide, parts).open(encoding="utf-8") as rows:
                    shutil.copyfileobj(rows, stream)
    write_text(slides_table(out), _slides_csv([*without, *scored], classifier))


def _part_of(slide: TiledSlide, parts: Path) -> Path:
    return parts / f"{slide.record.slide_id}.{slide.digest}.csv"


def _own_part_of(slide: TiledSlide, parts: Path) -> Path:
    """Beside its tiles' rows, and written before them: the slide's probabilities by the method."""
    return parts / f"{slide.record.slide_id}.{slide.digest}.own"


def _sweep(out: Path) -> None:
    """Remove what is kept of this table's slides, by this model and by earlier ones."""
    name = re.compile(rf"\.{re.escape(beside(out, '').name)}\.[0-9a-f]{{12}}\.parts")
    for parts in filter(lambda path: name.fullmatch(path.name), out.parent.glob(".*.parts")):
        with contextlib.suppress(ArtifactError, FileNotFoundError), alone_in(parts):
            shutil.rmtree(parts, ignore_errors=True)


def _is_meant(slide_id: str, only: Collection[str] | None) -> bool:
    return only is None or slide_id in only


def _grade(classifier: Classifier, scored: Scored, parts: Path, is_new: bool) -> SlideGrade:
    """The grade of a slide; its tiles' rows are put into a part of the table if they are new."""
    slide, tile_NC = scored.slide, scored.tile_NC
    if tile_NC is None:
        return SlideGrade(slide.record.slide_id, problem=scored.problem)
    tile_NC = np.round(tile_NC, DECIMALS)  # as a stopped run finds them again
    own_C = () if scored.own_C is None else tuple(np.round(scored.own_C, DECIMALS).tolist())
    try:
        at = places_of(slide)
        if is_new:
            rows = _tiles_csv(slide.record.slide_id, at.l0_xy, at.l0_edge, tile_NC)
            write_text(_own_part_of(slide, parts), json.dumps(own_C))
            write_text(_part_of(slide, parts), rows)
    except FAULTS as fault:
        return SlideGrade(slide.record.slide_id, problem=reason_of(fault))
    decided, probability = decide(classifier.rule, tile_NC)
    grades = classifier.card.grades
    return SlideGrade(
        slide.record.slide_id,
        slide.num_tiles,
        grades[decided],
        sureness(grades, decided, probability),
        tuple(probability.tolist()),
        entropy_of(probability),
        at.l0_size,
        at.l0_offset,
        at.mpp,
        own_C=own_C,
        is_picture=at.is_picture,
    )


def _columns(grades: Sequence[str]) -> list[str]:
    return [PREFIX + grade for grade in grades]


def _tiles_csv(
    slide_id: str, l0_xy: NDArray[np.int64], l0_edge: int, tile_NC: NDArray[np.float64]
) -> str:
    """Rows of a slide's tiles; an id with a comma or a quote is quoted."""
    return csv_text(
        [slide_id, x, y, l0_edge, *(f"{value:.{DECIMALS}f}" for value in row)]
        for (x, y), row in zip(l0_xy.tolist(), tile_NC.tolist(), strict=True)
    )


def _kept(classifier: Classifier, slide: TiledSlide, parts: Path) -> Scored | None:
    """What an earlier run left of a slide, if it is all there."""
    part, num_grades = _part_of(slide, parts), len(classifier.card.grades)
    if not part.is_file():
        return None
    with part.open(encoding="utf-8", newline="") as stream:
        rows = [row[4:] for row in csv.reader(stream)]
    if len(rows) != slide.num_tiles or any(len(row) != num_grades for row in rows):
        return None
    try:
        own = json.loads(_own_part_of(slide, parts).read_text(encoding="utf-8"))
        own_C = np.array(own, np.float64) if classifier.has_own_answer else None
        return Scored(slide, np.array(rows, np.float64), own_C)
    except (OSError, ValueError):
        return None


def _slides_csv(grades: Sequence[SlideGrade], classifier: Classifier) -> str:
    names, taught = classifier.card.grades, classifier.card.taught
    own = [OWN_PREFIX + name for name in names] if classifier.has_own_answer else []
    rows: list[list[object]] = [
        ["slide_id", "grade", *_columns(names), "entropy", "num_tiles", "l0_width", "l0_height",
         "l0_offset_x", "l0_offset_y", "mpp", "problem", "is_taught", "is_picture", *own]
    ]  # fmt: skip
    for grade in grades:
        entropy = "" if np.isnan(grade.entropy) else f"{grade.entropy:.4f}"
        is_taught = not digests_of(grade.slide_id).isdisjoint(taught)
        rows.append(
            [grade.slide_id, grade.grade, *_cells(grade.probability_C, len(names)), entropy,
             grade.num_tiles, *grade.l0_size, *grade.l0_offset,
             "" if grade.mpp is None else f"{grade.mpp:.6g}", grade.problem,
             str(is_taught).lower() if taught else "",
             "" if grade.problem else str(grade.is_picture).lower(),
             *_cells(grade.own_C, len(own))]
        )  # fmt: skip
    return csv_text(rows)


def _cells(values: Sequence[float], num: int) -> list[str]:
    """Probabilities as text, or as many empty cells."""
    return [f"{value:.{DECIMALS}f}" for value in values] or [""] * num
