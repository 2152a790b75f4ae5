"""A toy cohort as features: slides of a few grades, most of whose tiles are healthy."""

import csv
from pathlib import Path

import numpy as np

from pathology.interop.h5_features import write_features

GRADES = ("healthy", "adenoma", "carcinoma")
NUM_FEATURES = 16


def write_cohort(
    folder: Path, num: int = 24, *, share: float = 0.3, seed: int = 0, **attributes: object
) -> tuple[Path, Path]:
    """Features of num slides, and a manifest with their grades, cases, centres and splits."""
    random = np.random.default_rng(seed)
    features, manifest = folder / "features", folder / "slides.csv"
    features.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(num):
        grade, num_tiles = i % 3, int(random.integers(20, 60))
        truth = np.where(np.arange(num_tiles) < max(2, share * num_tiles), grade, 0)
        made = 3 * np.eye(3, NUM_FEATURES)[truth] + random.normal(size=(num_tiles, NUM_FEATURES))
        corners = np.stack([np.arange(num_tiles) * 256, np.zeros(num_tiles)], axis=1)
        write_features(
            features / f"s{i:02d}.h5", made.astype(np.float32), corners.astype(np.int64),
            {"encoder": "toy", "name": f"s{i:02d}", **attributes},  # type: ignore[dict-item]
            {
                "tile_size_px": 256, "achieved_mpp": 0.5, "patch_size_level0": 256,
                "level0_width": 20_000, "level0_height": 1000,
            },
        )  # fmt: skip
        split = ("train", "train", "val", "test")[i // 3 % 4]
        rows.append([f"s{i:02d}", f"c{i:02d}", GRADES[grade], f"centre{i % 2}", split])
    with manifest.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["slide_id", "case_id", "label", "centre", "split", "slide_path"])
        writer.writerows([*row, f"{row[0]}.svs"] for row in rows)
    return features, manifest
