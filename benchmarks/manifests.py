"""Manifests that benchmarks write, and the rows of the two sets that adaptation is measured on."""

import csv
from collections.abc import Sequence
from pathlib import Path

from pathology.core.table import csv_text

GLAS_MPP = 0.62
SETS = {"source": ("glas", "case_id", str(GLAS_MPP)), "target": ("lc25000_colon", "group", "")}


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Rows of the same columns, as a table with their names above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = csv_text([list(rows[0]), *([*row.values()] for row in rows)])
    path.write_text(text, encoding="utf-8")
    return path


def colon_rows(data: Path, name: str) -> list[dict[str, str]]:
    """Rows of a manifest of the source, GlaS fields, or of the target, LC25000's colon photos."""
    folder, case, mpp = SETS[name]
    found = []
    with (data / folder / "labels.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            found.append(
                {
                    "slide_id": Path(row["file"]).with_suffix("").as_posix().replace("/", "_"),
                    "case_id": row[case],
                    "slide_path": str((data / folder / row["file"]).resolve()),
                    "label": row["malignancy"],
                    "mpp": mpp,
                }
            )
    return found
