"""The tables of a tiling run, written as slides finish: process_list.csv and summary.md."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pathology.core.artifact import write_text
from pathology.core.errors import ArtifactError
from pathology.tiling.outcome import (
    COLUMNS,
    DONE,
    EMPTY,
    FAILED,
    PENDING,
    SlideOutcome,
)

WRITE_EVERY_S = 2.0
Row = TypeVar("Row")


class ProcessList:
    """One row for every slide of a manifest, on disk at all times, pending at first."""

    def __init__(self, path: Path, pending: Sequence[SlideOutcome]) -> None:
        self.path = path
        self.rows = {outcome.slide_id: outcome for outcome in pending}
        self._written = 0.0
        self.save()

    def put(self, outcome: SlideOutcome) -> None:
        """Take a slide's outcome; the file follows within two seconds, or at the end.

        A disk that is full for the moment ends no run: what counts is the save at its end.
        """
        self.rows[outcome.slide_id] = outcome
        if time.monotonic() - self._written > WRITE_EVERY_S:
            with contextlib.suppress(OSError):
                self.save()

    def save(self) -> None:
        """Write the file now, whole or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(outcome.row() for outcome in self.rows.values())
        write_text(self.path, text.getvalue())
        self._written = time.monotonic()


def read_process_list(path: Path) -> list[SlideOutcome]:
    """The rows of a process_list.csv; none where there is no such file.

    Raises ArtifactError for a table that is damaged, or is none of slides.
    """
    return read_rows(path, SlideOutcome.of_row)


def read_rows(path: Path, of_row: Callable[[dict[str, str]], Row]) -> list[Row]:
    """The rows of a table that a run wrote, each by of_row. Raises ArtifactError, see above."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [of_row(_whole(row)) for row in csv.DictReader(stream)]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: damaged, or not a table of slides ({error}). Remove it, and run the command "
            "that made it once more"
        ) from error


def _whole(row: dict[str, str]) -> dict[str, str]:
    if not row.get("slide_id") or not row.get("status") or None in row.values():
        raise ValueError("a row without slide_id or status, or cut short")
    return row


def count_statuses(outcomes: Sequence[SlideOutcome]) -> dict[str, int]:
    """How many slides ended how, the usual ones always named."""
    found = Counter(outcome.status for outcome in outcomes)
    return {DONE: 0, EMPTY: 0, FAILED: 0, **found}


def one_line(outcomes: Sequence[SlideOutcome], seconds: float) -> str:
    """The run in a line, as it is shown at its end."""
    counts = count_statuses(outcomes)
    said = ", ".join(f"{num} {status}" for status, num in counts.items() if num or status == DONE)
    num_tiles = sum(outcome.num_tiles for outcome in outcomes)
    rate = f", {num_tiles / seconds:,.0f} tiles/s" if seconds > 0 and num_tiles else ""
    return f"{len(outcomes)} slides: {said}; {num_tiles:,} tiles in {seconds:.1f} s{rate}"


def write_summary(
    path: Path, title: str, outcomes: Sequence[SlideOutcome], facts: Mapping[str, str]
) -> None:
    """A page for people: failures first, then every slide with its plan and counts."""
    lines = [f"# {title}", "", "Research use only.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    failures = [o for o in outcomes if o.status in (FAILED, EMPTY, PENDING)]
    if failures:
        lines += ["", "## Slides without tiles", "", "| slide | status | reason |", "|---|---|---|"]
        lines += [f"| {_cell(o.slide_id)} | {o.status} | {_cell(o.reason)} |" for o in failures]
    done = [o for o in outcomes if o.status == DONE]
    if done:
        lines += ["", "## Slides with tiles", ""]
        lines += [
            "| slide | plan | tissue mm2 | grid | tissue | white | black | pen | blur | tiles |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|---|"]
        lines += [_slide_row(outcome) for outcome in done]
    write_text(path, "\n".join(lines) + "\n")


def _slide_row(outcome: SlideOutcome) -> str:
    numbers = (
        outcome.tissue_area_mm2,
        outcome.num_grid,
        outcome.num_tissue,
        outcome.num_white,
        outcome.num_black,
        outcome.num_pen,
        outcome.num_blur,
        outcome.num_tiles,
    )
    shown = " | ".join("-" if number is None else f"{number:g}" for number in numbers)
    return f"| {_cell(outcome.slide_id)} | {outcome.plan} | {shown} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
