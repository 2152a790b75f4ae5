"""The table of a features run: a row for every slide, those without features among them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pathology.core.artifact import write_text
from pathology.core.errors import ArtifactError
from pathology.core.table import csv_text
from pipelines.stain_table import read_stain_table
from pipelines.tables import read_process_list

TABLE = "features.csv"


@dataclass(frozen=True)
class FeatureOutcome:
    """A slide's row in features.csv: status is done, kept (from before), empty or failed."""

    slide_id: str
    status: str
    num_tiles: int = 0
    seconds: float = 0.0
    reason: str = ""

    def line(self) -> str:
        """For people."""
        said = f"{self.slide_id}: {self.status}"
        return f"{said}, {self.reason}" if self.reason else f"{said}, {self.num_tiles} tiles"


def read_table(path: Path) -> list[FeatureOutcome]:
    """The rows of a features.csv. Raises ArtifactError where there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [
                FeatureOutcome(
                    row["slide_id"], row["status"], int(row["num_tiles"]),
                    float(row["seconds"]), row["reason"],
                )
                for row in csv.DictReader(stream)
            ]  # fmt: skip
    except (OSError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: not a table of features ({error})") from error


def without_stores(run: Path, paths: Sequence[Path]) -> list[FeatureOutcome]:
    """Rows of slides that the run could not tile, or normalize, so that they do not vanish."""
    there = {path.name.removesuffix(".zarr") for path in paths}
    rows = read_process_list(run / "process_list.csv") or read_stain_table(run / "stain.csv")
    return [
        FeatureOutcome(row.slide_id, "empty", 0, 0.0, row.reason or f"tiling: {row.status}")
        for row in rows
        if row.slide_id not in there
    ]


def without_features(folder: Path, paths: Sequence[Path]) -> list[FeatureOutcome]:
    """Rows of slides that have no file of features; none where others made the files."""
    table = folder / TABLE
    there = {path.stem for path in paths}
    rows = read_table(table) if table.is_file() else []
    return [row for row in rows if row.slide_id not in there]


def write_table(path: Path, rows: Sequence[FeatureOutcome]) -> None:
    """Write the rows, whole or not at all."""
    names = [field.name for field in fields(FeatureOutcome)]
    write_text(path, csv_text([names, *(astuple(row) for row in rows)]))
