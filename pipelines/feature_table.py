"""The table of a features run: a row for every slide, those without features among them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pathology.core.artifact import write_text
from pathology.core.errors import ArtifactError
from pathology.core.table import csv_text
from pipelines.run_stores import RunStores

TABLE = "features.csv"
EMPTY, USABLE = "empty", ("done", "kept")


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


def first_rows(run: RunStores, out: Path) -> list[FeatureOutcome]:
    """Rows of slides that the run has no tiles of, and of those that OUT holds from other runs."""
    found = [
        FeatureOutcome(one.slide_id, "failed" if one.is_failed else EMPTY, 0, 0.0, one.reason)
        for one in run.missing
    ]
    here = {row.slide_id for row in found} | {store.stem for store in run.stores}
    files, rows = _kept(out)
    others = set(files) - here
    return [*found, *(row for row in rows if row.slide_id in others)]


def features_in(folder: Path) -> list[Path]:
    """The files of features in a folder, without those that its table, if any, calls useless."""
    return list(_kept(folder)[0].values())


def without_features(folder: Path) -> list[FeatureOutcome]:
    """Rows of slides that have no file of features; none where others made the files."""
    files, rows = _kept(folder)
    return [row for row in rows if row.slide_id not in files]


def _kept(folder: Path) -> tuple[dict[str, Path], list[FeatureOutcome]]:
    """The files that are of use, by slide, and the rows of the table, if there is one."""
    table = folder / TABLE
    rows = read_table(table) if table.is_file() else []
    useless = {row.slide_id for row in rows if row.status not in USABLE}
    files = {path.stem: path for path in sorted(folder.glob("[!.]*.h5"))}
    return {name: path for name, path in files.items() if name not in useless}, rows


def write_table(path: Path, rows: Sequence[FeatureOutcome]) -> None:
    """Write the rows, whole or not at all."""
    names = [field.name for field in fields(FeatureOutcome)]
    write_text(path, csv_text([names, *(astuple(row) for row in rows)]))
