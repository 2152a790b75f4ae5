"""A small tiling run with labels and maps of grades, to train on with pixels."""

import csv
import subprocess
from pathlib import Path

import cv2
import numpy as np

from tests.conftest import tissue_pixels, write_pyramid
from tests.in_process import PATHOLOGY
from tests.pipelines.small_encoder import SMALLEST

SETTINGS = {
    "encoder": SMALLEST, "tile_px": 64, "epochs": 2, "epoch_tiles": 48, "slides_per_step": 4,
    "tiles_per_slide": 4, "width": 16, "learning_rate": 0.003,
}  # fmt: skip


def write_run(folder: Path) -> tuple[Path, Path]:
    """A run of eight slides, half of them with a darker half, and their manifest."""
    rows = []
    for i in range(8):
        grade = i % 2
        pixels = tissue_pixels(768, 512, seed=i)
        truth = np.ones((32, 48), np.uint8)
        if grade:
            pixels[:, :384] = pixels[:, :384] // 2
            truth[:, :24] = 2
        write_pyramid(folder / f"s{i}.tif", pixels, mpp=0.5)
        cv2.imwrite(str(folder / f"s{i}.truth.png"), truth)
        part = "val" if i >= 6 else "train"
        label = ("benign", "malignant")[grade]
        rows.append([f"s{i}", f"c{i}", f"s{i}.tif", label, part, f"s{i}.truth.png"])
    with (folder / "slides.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["slide_id", "case_id", "slide_path", "label", "split", "truth_path"], *rows]
        )
    words = ["tile", folder / "slides.csv", "--out", folder / "run", "--set", "tile.size_px=128"]
    subprocess.run([*PATHOLOGY, *map(str, words)], check=True, capture_output=True)
    return folder / "run", folder / "slides.csv"
