"""One row of stain.csv: what became of one slide's tile store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pathology.core.errors import reason_of
from pathology.tiling.outcome import FAILED


@dataclass(frozen=True, kw_only=True)
class StainOutcome:
    """What became of one slide's store.

    status       done, empty (no tiles) or failed; num_passed_through tiles stayed as they were
    hematoxylin, eosin  the slide's own stain vectors, "R G B" in optical density
    h_shift, e_shift    degrees between them and the reference's
    h_gain, e_gain      factors on each stain's concentration
    """

    slide_id: str
    status: str
    reason: str = ""
    num_tiles: int = 0
    num_passed_through: int = 0
    seconds: float = 0.0
    hematoxylin: str = ""
    eosin: str = ""
    h_shift: float | None = None
    e_shift: float | None = None
    h_gain: float | None = None
    e_gain: float | None = None
    white_level: str = ""
    store_bytes: int = 0
    fingerprint: str = ""
    error: str = ""

    def row(self) -> dict[str, Any]:
        """The outcome as a flat row; what is not known is empty."""
        return {name: "" if value is None else value for name, value in asdict(self).items()}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> StainOutcome:
        """The outcome that row was made of; numbers may have become text, as in a CSV file."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = row.get(field.name, "")
            if value != "" or field.type == "str":
                values[field.name] = _PARSE[str(field.type).split(" ")[0]](value)
        return cls(**values)


_PARSE: dict[str, Callable[[Any], Any]] = {"str": str, "int": int, "float": float}
COLUMNS = tuple(field.name for field in fields(StainOutcome))


def failed(source: Path, fault: Exception, seconds: float, error: str = "") -> StainOutcome:
    """The row of a store that could not be done."""
    return StainOutcome(
        slide_id=source.stem,
        status=FAILED,
        reason=reason_of(fault),
        seconds=round(seconds, 3),
        error=error,
    )
