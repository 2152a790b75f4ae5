"""The table of a stain run, written as its members finish: stain.csv."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pathology.core.artifact import write_text
from pathology.stain.outcome import COLUMNS, StainOutcome
from pipelines.tables import WRITE_EVERY_S, read_rows


class StainTable:
    """One row for every member of an input, on disk at all times, pending at first.

    path  of the CSV file; None: the rows are kept in memory only
    """

    def __init__(self, path: Path | None, rows: Iterable[StainOutcome]) -> None:
        self.path = path
        self.rows = {row.slide_id: row for row in rows}
        self._written = 0.0
        self.save()

    def put(self, outcome: StainOutcome) -> None:
        """Take an outcome; the file follows within two seconds, or at the end."""
        self.rows[outcome.slide_id] = outcome
        if time.monotonic() - self._written > WRITE_EVERY_S:
            with contextlib.suppress(OSError):  # what counts is the save at the end
                self.save()

    def save(self) -> None:
        """Write the file now, whole or not at all."""
        if self.path is not None:
            write_table(self.path, list(self.rows.values()))
        self._written = time.monotonic()


def write_table(path: Path, outcomes: Sequence[StainOutcome]) -> None:
    """Write stain.csv, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(outcome.row() for outcome in outcomes)
    write_text(path, text.getvalue())


def read_stain_table(path: Path) -> list[StainOutcome]:
    """The rows of a stain.csv; none where there is no such file."""
    return read_rows(path, StainOutcome.of_row)
