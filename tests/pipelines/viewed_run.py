"""A small tiling run with predictions and every kind of trouble, and a server that shows it."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pathology.core.table import csv_text
from pathology.stain.macenko import TEXTBOOK
from pathology.tiling.config import TilingConfig
from pathology.tiling.store import open_tiles
from pipelines.tile import TileOptions, tile_manifest
from tests.conftest import ROOT, tissue_pixels, write_pyramid

SCRIPT_ID = "<script>document.title='owned'</script>"
ODD_ID = "odd' & {{7}} #1%2e%2e="
CLASSES = ("benign", "unsure", "malignant")
WORST = 2  # number of the tile of s0 that is surely malignant
L0_EDGE = 256


def write_run(folder: Path) -> Path:
    """RUN with two sound slides, one of an odd name, and three that cannot be shown."""
    slides = folder / "slides"
    slides.mkdir(parents=True)
    names = {"s0": "s0.tif", ODD_ID: "s1.tif", "broken": "broken.tif", "moved": "moved.tif"}
    for number, name in enumerate(("s0.tif", "s1.tif")):
        write_pyramid(slides / name, tissue_pixels(1024, 768, seed=number), mpp=0.5)
    whole = (slides / "s0.tif").read_bytes()
    for name in ("broken.tif", "moved.tif"):
        (slides / name).write_bytes(whole)
    rows = [*names.items(), (SCRIPT_ID, "s0.tif"), ("../../etc/passwd", "/etc/passwd")]
    table = [["slide_id", "slide_path", "label"], *([*row, "adenoma"] for row in rows)]
    (slides / "slides.csv").write_text(csv_text(table))
    run = folder / "run"
    tile_manifest(TileOptions(slides / "slides.csv", run, workers=0), TilingConfig())
    (slides / "broken.tif").write_bytes(whole[: len(whole) // 2])
    (slides / "moved.tif").unlink()
    TEXTBOOK.save(folder / "style.json")
    return run


def write_predictions(run: Path, path: Path, slide_id: str = "s0") -> None:
    """Every tile benign but one, and a table of slides beside."""
    l0_xy = open_tiles(run / "tiles" / f"{slide_id}.zarr").l0_xy
    rows = np.tile([0.75, 0.25, 0.0], (len(l0_xy), 1))
    rows[WORST] = [0.0, 0.0, 1.0]
    tiles = [["slide_id", "l0_x", "l0_y", "l0_edge", *(f"prob_{name}" for name in CLASSES)]]
    for corner, row in zip(l0_xy.tolist(), rows.tolist(), strict=True):
        tiles.append([slide_id, *map(str, corner), str(L0_EDGE), *map(str, row)])
    path.write_text(csv_text(tiles))
    head = ["slide_id", "grade", *tiles[0][4:], "entropy", "num_tiles", "problem"]
    said = [head, [slide_id, "malignant", "0.1", "0.1", "0.8", "0.5", str(len(l0_xy)), ""]]
    said.append([ODD_ID, "", "", "", "", "", "0", "its file of features is damaged"])
    path.with_name(f"{path.stem}.slides.csv").write_text(csv_text(said))


def statuses(run: Path) -> dict[str, str]:
    with (run / "process_list.csv").open(newline="", encoding="utf-8") as stream:
        return {row["slide_id"]: row["status"] for row in csv.DictReader(stream)}


@contextmanager
def served(*words: str | Path, cwd: Path | None = None) -> Iterator[str]:
    """The address of a server in a process of its own, which is interrupted in the end."""
    command = [sys.executable, "-u", "-m", "pipelines", "serve", *map(str, words), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        env=environment,
    )  # fmt: skip
    said = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith("Open "):
                break
        assert said and said[-1].startswith("Open "), "".join(said)
        assert said[0].startswith("Research use only")
        yield said[-1].split()[1]
        assert process.poll() is None, "the server died"
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert "Traceback" not in rest, rest
    assert process.returncode == 0, rest
