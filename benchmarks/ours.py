"""The project's own command as a contender: what it is called with and what it leaves behind."""

import csv
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import Run, run_measured
from numpy.typing import NDArray

SLIDE_ID = "benchmark"
COMMAND = Path(sys.executable).with_name("pathology")


@dataclass(frozen=True)
class Product:
    """What one run of `pathology tile` made of one slide.

    extraction_s  what the process list says the slide took, without starting Python
    """

    run: Run
    folder: Path
    num_tiles: int
    extraction_s: float
    problem: str | None

    @property
    def store(self) -> Path:
        return self.folder / "tiles" / f"{SLIDE_ID}.zarr"

    @property
    def store_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.store.rglob("*") if path.is_file())


def is_installed() -> bool:
    return COMMAND.exists()


def tile(
    slide: Path,
    folder: Path,
    size_px: int,
    mpp: float,
    num_workers: int,
    *,
    coords_only: bool = False,
) -> Product:
    """Run the whole command on a manifest of one slide, into a new folder."""
    folder.mkdir(parents=True)
    manifest = folder / "manifest.csv"
    manifest.write_text(f"slide_id,case_id,slide_path\n{SLIDE_ID},{SLIDE_ID},{slide.resolve()}\n")
    out = folder / "run"
    command = [COMMAND, "tile", manifest, "--out", out, "--workers", num_workers]
    command += ["--set", f"tile.mpp={mpp}", "--set", f"tile.size_px={size_px}"]
    run = run_measured([*map(str, command), *(["--coords-only"] if coords_only else [])])
    try:
        row = process_row(out)
    except (OSError, KeyError, StopIteration) as problem:
        return Product(run, out, 0, 0.0, run.problem or f"no usable process list: {problem!r}")
    num_tiles = int(row.get("num_tiles") or 0)
    said = f"{row.get('status')}: {row.get('reason')}" if not num_tiles else None
    return Product(run, out, num_tiles, float(row.get("seconds") or 0), run.problem or said)


def process_row(out: Path) -> dict[str, str]:
    """The slide's line in the process list."""
    with (out / "process_list.csv").open() as file:
        return next(row for row in csv.DictReader(file) if row["slide_id"] == SLIDE_ID)


def open_store(store: Path) -> Any:
    """The zarr group of a tile store; importing the project makes its JPEG codec known to zarr."""
    importlib.import_module("pathology.tiling.store")
    zarr = importlib.import_module("zarr")
    return zarr.open_group(store, mode="r")


def l0_corners(store: Path) -> NDArray[np.int64]:
    return np.asarray(open_store(store)["l0_xy"][:], dtype=np.int64)


def stored_tile(group: Any, row: int) -> NDArray[np.uint8]:
    return np.asarray(group["pixels"][row])
