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


@dataclass(frozen=True)
class RunStores:
    """A run's stores that count, its slides without one, and the rows of its table."""

    stores: tuple[Path, ...]
    missing: tuple[WithoutStore, ...]
    rows: tuple[SlideOutcome | StainOutcome, ...]

    @property
    def centres(self) -> tuple[tuple[str, str], ...]:
        """Slides and their centres, where the table says them."""
        return tuple(
            (row.slide_id, row.centre)
            for row in self.rows
            if isinstance(row, SlideOutcome) and row.centre
        )


def stores_of(run: Path) -> list[Path]:
    """The stores of read_stores, alone."""
    return list(read_stores(run).stores)


def without_stores(run: Path) -> tuple[WithoutStore, ...]:
    """The slides of read_stores that have none, so that they do not vanish."""
    return read_stores(run).missing


def read_stores(run: Path) -> RunStores:
    """The tile stores of a run folder, or the one store that the path is, and what lacks one.

    Where the run has a table, a store counts if its slide is done there: one that an earlier
    command left, with other settings or of a slide since replaced or withdrawn, does not.
    Raises ArtifactError where there are none, and for a table that is not whole.
    """
    found = {_id_of(path): path for path in _stores_in(run)}
    if not found:
        raise ArtifactError(
            f"{run}: no tile stores. Give the folder of a run (with tiles/*.zarr) or one store"
        )
    rows = tuple(rows_of(run))
    listed, done = {row.slide_id for row in rows}, {r.slide_id for r in rows if r.status == DONE}
    used = tuple(path for name, path in found.items() if not rows or name in done)
    missing = [_without(row) for row in rows if row.status != DONE or row.slide_id not in found]
    missing += [
        WithoutStore(name, f"not in the run's table: list it again, or remove tiles/{name}{SUFFIX}")
        for name in found
        if rows and name not in listed
    ]
    if not used:
        raise ArtifactError(f"{run}: none of its slides is done. {_some(missing)}")
    return RunStores(used, tuple(missing), rows)


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
