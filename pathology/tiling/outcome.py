"""One row of the tables: what became of one slide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pathology.core.errors import reason_of
from pathology.core.manifest import SlideRecord

PENDING, DONE, EMPTY, FAILED, PLANNED = "pending", "done", "empty", "failed", "planned"


@dataclass(frozen=True, kw_only=True)
class SlideOutcome:
    """What became of a slide. Counts follow the filters: grid, tissue, then each quality check.

    status     done, empty (nothing to take, see reason), failed, planned (dry run) or pending
    reason     why; empty where there is nothing to say
    error      the traceback of a fault nobody foresaw
    num_grid   tiles of the grid; num_tissue of those with enough tissue; num_white, num_black,
               num_pen, num_blur those left out by each check; num_tiles those kept
    """

    slide_id: str
    status: str
    reason: str = ""
    case_id: str = ""
    label: str = ""
    centre: str = ""
    mpp: float | None = None
    mpp_source: str = ""
    target_mpp: float | None = None
    achieved_mpp: float | None = None
    plan: str = ""
    slide_width: int | None = None
    slide_height: int | None = None
    tissue_area_mm2: float | None = None
    num_grid: int | None = None
    num_tissue: int | None = None
    num_white: int | None = None
    num_black: int | None = None
    num_pen: int | None = None
    num_blur: int | None = None
    num_tiles: int = 0
    slide_bytes: int | None = None
    store_bytes: int | None = None
    seconds: float = 0.0
    fingerprint: str = ""
    slide_path: str = ""
    error: str = ""

    def row(self) -> dict[str, Any]:
        """The outcome as a flat row; what is not known is empty."""
        return {name: "" if value is None else value for name, value in asdict(self).items()}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> SlideOutcome:
        """The outcome that row was made of; numbers may have become text, as in a CSV file."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = row.get(field.name, "")
            if value == "" and field.type != "str":
                continue
            values[field.name] = _PARSE[str(field.type).split(" ")[0]](value)
        return cls(**values)


_PARSE: dict[str, Callable[[Any], Any]] = {"str": str, "int": int, "float": float}
COLUMNS = tuple(field.name for field in fields(SlideOutcome))


def facts_of(record: SlideRecord) -> dict[str, Any]:
    """The columns of a row that the manifest alone fills."""
    return {
        "slide_id": record.slide_id,
        "case_id": record.case_id,
        "label": record.label,
        "centre": record.centre,
        "mpp": record.mpp,
        "mpp_source": "" if record.mpp is None else "manifest",
        "slide_path": str(record.slide_path),
    }


def failed(record: SlideRecord, fault: Exception, seconds: float, error: str = "") -> SlideOutcome:
    """The row of a slide that could not be done."""
    return SlideOutcome(
        **facts_of(record),
        status=FAILED,
        reason=reason_of(fault),
        seconds=round(seconds, 3),
        error=error,
    )
