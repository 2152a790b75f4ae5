"""The manifest of a simulated cohort: one row a slide or microscope image."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pathology.core.artifact import write_text


@dataclass(frozen=True, kw_only=True)
class SimulatedRow:
    """One row; paths are relative to the manifest, mpp is None where it is not said.

    truth_path       grade map; the constants lie beside it as .json
    simulated_fault  what is wrong with it on purpose, or empty
    """

    slide_id: str
    case_id: str
    slide_path: str
    label: str
    centre: str
    scanner: str
    mpp: float | None
    domain: str
    split: str
    truth_path: str
    simulated_fault: str = ""


def write_manifest(path: Path, rows: Iterable[SimulatedRow]) -> Path:
    """Write rows as CSV, in the order given."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(SimulatedRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if v is None else v for k, v in asdict(row).items()})
    write_text(path, text.getvalue())
    return path
