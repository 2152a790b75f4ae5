"""Which tile stores of a run count: those of the slides that its table calls done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pathology.core.errors import ArtifactError
from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import DONE, PENDING, SlideOutcome
from pipelines.stain_table import read_stain_table
from pipelines.tables import read_process_list

SUFFIX = ".zarr"
NOT_FINISHED = "its tiles were not finished: run the command that made the others once more"
GONE = "its tile store is gone: run the command that made it once more"


@dataclass(frozen=True)
class WithoutStore:
    """A slide of a run that has no tiles to use; is_failed where the table says it has."""

    slide_id: str
    reason: str
    is_failed: bool = False


def stores_of(run: Path) -> list[Path]:
    """The tile stores of a run folder, or the one store that the path is.

    Where the run has a table, a store counts if its slide is done there: one that an earlier
    command left, with other settings or of a slide since replaced or withdrawn, does not.
    Raises ArtifactError where there are none.
    """
    found = _stores_in(run)
    rows = rows_of(run) if found else []
    done = {row.slide_id for row in rows if row.status == DONE}
    used = [path for path in found if not rows or _id_of(path) in done]
    if found and not used:
        raise ArtifactError(f"{run}: none of its slides is done. {_some(without_stores(run))}")
    if not used:
        raise ArtifactError(
            f"{run}: no tile stores. Give the folder of a run (with tiles/*.zarr) or one store"
        )
    return used


def without_stores(run: Path) -> list[WithoutStore]:
    """Slides of a run that have no store that counts, and why, so that they do not vanish."""
    rows, there = rows_of(run), {_id_of(path) for path in _stores_in(run)}
    found = [_without(row) for row in rows if row.status != DONE or row.slide_id not in there]
    listed = {row.slide_id for row in rows}
    found += [
        WithoutStore(name, f"not in the run's table: list it again, or remove tiles/{name}{SUFFIX}")
        for name in sorted(there - listed)
        if rows
    ]
    return found


def rows_of(run: Path) -> Sequence[SlideOutcome | StainOutcome]:
    """The rows of a run's table, of tiling or of normalizing; none where it has no table.

    Raises ArtifactError for a table that is not whole.
    """
    return read_process_list(run / "process_list.csv") or read_stain_table(run / "stain.csv")


def _without(row: SlideOutcome | StainOutcome) -> WithoutStore:
    if row.status == DONE:
        return WithoutStore(row.slide_id, GONE, is_failed=True)
    if row.status == PENDING:
        return WithoutStore(row.slide_id, NOT_FINISHED, is_failed=True)
    return WithoutStore(row.slide_id, row.reason or f"tiling: {row.status}")


def _stores_in(run: Path) -> list[Path]:
    if run.suffix == SUFFIX:
        return [run] if run.is_dir() else []
    return sorted(p for p in (run / "tiles").glob(f"*{SUFFIX}") if not p.name.startswith("."))


def _id_of(store: Path) -> str:
    return store.name.removesuffix(SUFFIX)


def _some(missing: Sequence[WithoutStore]) -> str:
    return "; ".join(f"{one.slide_id}: {one.reason}" for one in missing[:3])
