"""Which slides an evaluation does not judge, and why: lines for people, lists for files."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pathology.core.manifest import Manifest, SlideRecord
from pipelines.prediction_tables import SlidePredictions, TilePredictions

NO_SLIDE_FIGURES = "left out of the figures of slides"  # tiles with maps of grades still count
DETAILED = ("rejected", "unknown_labels", "failed", "unknown_grades")
NUM_SHOWN, MAX_DETAIL = 5, 120  # slides that a line names; characters of what it says of each


@dataclass(frozen=True)
class Reason:
    """Slides that are left out for one reason, each with what is to be said of it alone.

    effect  what becomes of them, as in "2 slides are not judged"
    """

    effect: str
    why: str
    remedy: str
    slides: Mapping[str, str]

    def line(self) -> str:
        """How many slides, the first of them, and what to do."""
        num = len(self.slides)
        shown = [_named(*item) for item in list(self.slides.items())[:NUM_SHOWN]]
        more = [f"{num - NUM_SHOWN} more"] if num > NUM_SHOWN else []
        subject = "1 slide is" if num == 1 else f"{num} slides are"
        listed = ("; " if any(self.slides.values()) else ", ").join([*shown, *more])
        return f"{subject} {self.effect}: {self.why} ({listed}). {self.remedy}"


def left_out(
    names: tuple[str, str],
    tiles: TilePredictions,
    slides: SlidePredictions,
    manifest: Manifest,
    judged: Mapping[str, SlideRecord],
) -> dict[str, Reason]:
    """Reasons by their names in metrics.json, those that no slide has among them.

    names   of the tables of tiles and of slides
    judged  slides of the part that is judged, their labels as the predictions call them
    """
    (tile_table, table), grades = names, tiles.grades
    with_tiles, in_manifest = dict.fromkeys(tiles.slide_N.tolist()), set(manifest.slide_ids)
    rows = {name: number for number, name in enumerate(slides.slide_ids)}
    labels = {name: record.label for name, record in judged.items()}
    labelled = [name for name, label in labels.items() if label in grades]
    failed = {
        name: slides.problems[rows[name]]
        for name in labelled
        if name in rows and slides.grade_S[rows[name]] < 0
    }
    texts = {name: slides.grade_texts[rows[name]] for name in failed if not failed[name]}
    return {
        "rejected": Reason(
            "not judged", "a row in the manifest that cannot be used", "Mend it there",
            {fault.slide_id: fault.reason.rstrip(".") for fault in manifest.rejected},
        ),
        "not_in_manifest": Reason(
            "not judged", "not in the manifest", "Add rows with their labels there",
            dict.fromkeys((n for n in rows | with_tiles if n not in in_manifest), ""),
        ),
        "no_label": Reason(
            NO_SLIDE_FIGURES, "no label in the manifest", "Fill in its column label",
            dict.fromkeys((name for name, label in labels.items() if not label), ""),
        ),
        "unknown_labels": Reason(
            NO_SLIDE_FIGURES, "labels that the model does not know",
            f"Its grades are {', '.join(grades)}: write these in the manifest, or say which is "
            f"meant: --class-map LABEL={grades[0]}",
            {n: _strange(label, grades) for n, label in labels.items() if label
             and label not in grades},
        ),
        "not_predicted": Reason(
            "not judged", "no prediction", "Run 'pathology predict' on them, too",
            dict.fromkeys((n for n in labelled if n not in rows and n not in with_tiles), ""),
        ),
        "not_in_slides": Reason(
            "not judged", f"tiles in {tile_table}, but no row in {table}", "Predict again",
            dict.fromkeys((n for n in labels if n in with_tiles and n not in rows), ""),
        ),
        "failed": Reason(
            "not judged", f"no grade in {table}", "Mend what is wrong and predict again",
            {name: problem for name, problem in failed.items() if problem},
        ),
        "unknown_grades": Reason(
            NO_SLIDE_FIGURES, f"grades in {table} that are no column of {tile_table}",
            "Predict again", {name: _strange(text, grades) for name, text in texts.items()},
        ),
        "no_tiles": Reason(
            "left out of the figures of tiles", f"no tiles in {tile_table}", "Predict again",
            dict.fromkeys((n for n in labelled if n in rows and n not in failed
                           and n not in with_tiles), ""),
        ),
    }  # fmt: skip


def facts_of(reasons: Mapping[str, Reason]) -> dict[str, list[str] | dict[str, str]]:
    """What metrics.json says of each reason: its slides; in DETAILED, what is wrong with each."""
    return {
        name: dict(reason.slides) if name in DETAILED else list(reason.slides)
        for name, reason in reasons.items()
    }


def table_of(reasons: Mapping[str, Reason]) -> list[list[str]]:
    """Heads and a row for each slide that is left out: not_judged.csv."""
    rows = [
        [slide_id, f"{reason.effect}: {reason.why}", detail]
        for reason in reasons.values()
        for slide_id, detail in reason.slides.items()
    ]
    return [["slide_id", "why", "detail"], *rows]


def _named(slide_id: str, detail: str) -> str:
    short = textwrap.shorten(detail, MAX_DETAIL, placeholder=" ...")
    return f"{slide_id}: {short}" if detail else slide_id


def _strange(text: str, grades: Sequence[str]) -> str:
    """A name that is no grade's; which it may be, where only capitals differ."""
    meant = [grade for grade in grades if grade.casefold() == text.casefold()]
    return f"{text!r} ({meant[0]!r} but for capitals)" if meant else repr(text)
