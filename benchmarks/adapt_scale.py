"""How far off is the guess of --target-mpp auto? On pictures whose resolution is known.

Source: fields of GlaS at 0.62 um/px. Targets: other fields of it made larger and smaller, colon of
another laboratory, breast on two scanners, skin.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from manifests import GLAS_MPP
from measure import keep_to_cores
from numpy.typing import NDArray
from PIL import Image

from pathology.adapt.scale import TRIED, guess_scale
from pathology.models.encode import encode, prepare
from pathology.models.encoder import OFFLINE, make_encoder
from pipelines.flat_pictures import squares_of

EDGE = 112
Pixels = NDArray[np.uint8]


def read(paths: list[Path], num: int, enlarged: float = 1.0) -> list[Pixels]:
    """So many pictures, evenly spaced, as the command cuts them."""
    rows = np.unique(np.linspace(0, len(paths) - 1, min(num, len(paths))).astype(int))
    found = []
    for row in rows:
        pixels = np.asarray(Image.open(paths[row]).convert("RGB"))
        if enlarged != 1:
            size = [round(length * enlarged) for length in pixels.shape[1::-1]]
            way = cv2.INTER_AREA if enlarged < 1 else cv2.INTER_CUBIC
            pixels = cv2.resize(pixels, size, interpolation=way)
        found.append(squares_of(pixels, 4 * EDGE)[0])
    return found


def targets(data: Path, num: int) -> dict[str, tuple[float, Callable[[], list[Pixels]]]]:
    """By name: true microns per pixel (0: not known), and the pictures."""
    fields = _shuffled(data)[1]
    found: dict[str, tuple[float, Callable[[], list[Pixels]]]] = {}
    for mpp in (1.24, 1.0, 0.8, 0.62, 0.5, 0.35, 0.25, 0.15, 3.5):
        found[f"GlaS, made {mpp:g}"] = (mpp, lambda m=mpp: read(fields, num, GLAS_MPP / m))
    for name, mpp in (("aperio", 0.2455), ("hamamatsu", 0.2273)):
        paths = sorted((data / "mitos_pairs" / name).glob("*.png"))
        found[f"breast, {name}"] = (mpp, lambda p=paths: read(p, num))
        found[f"breast, {name}, halved"] = (2 * mpp, lambda p=paths: read(p, num, 0.5))
    for name in ("TUM", "NORM", "STR", "MUC", "LYM", "MUS"):
        paths = sorted((data / "crc_val_he_7k_subset" / name).glob("*.*"))
        found[f"colon, CRC-VAL, {name}"] = (0.5, lambda p=paths: read(p, num))
    crc = [p for n in ("TUM", "NORM", "STR", "MUC") for p in
           sorted((data / "crc_val_he_7k_subset" / n).glob("*.*"))]  # fmt: skip
    found["colon, CRC-VAL, four classes"] = (0.5, lambda: read(crc, num))
    for name in ("aca", "n"):
        paths = sorted((data / "lc25000_colon").glob(f"**/colon_{name}/*"))
        found[f"colon, LC25000, {name}"] = (0.0, lambda p=paths: read(p, num))
    return found


def _shuffled(data: Path) -> tuple[list[Path], list[Path]]:
    paths = sorted((data / "glas" / "images").glob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(paths))
    return [paths[i] for i in order[:60]], [paths[i] for i in order[60:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATHOLOGY_DATA", "")))
    parser.add_argument("--num", type=int, default=40, help="pictures of each target")
    options = parser.parse_args()
    keep_to_cores(2)
    ready = prepare(make_encoder(OFFLINE), "cpu")
    fields, _ = _shuffled(options.data)
    source = []
    for path in fields[:40]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        source += [pixels[: 2 * EDGE, : 2 * EDGE], pixels[-2 * EDGE :, -2 * EDGE :]]

    kept: dict[bytes, NDArray[np.float32]] = {}

    def look(windows: Pixels) -> NDArray[np.float32]:
        if len(windows) < len(source) * 13:
            return encode(ready, windows, device="cpu")
        key = windows[:1].tobytes()  # the source's windows are the same every time
        if key not in kept:
            kept[key] = encode(ready, windows, device="cpu")
        return kept[key]

    print("| | um/px | guess | factor off |\n|---|--:|--:|--:|")
    for name, (mpp, pictures) in targets(options.data, options.num).items():
        found = guess_scale(source, pictures(), EDGE, look)
        guess = GLAS_MPP * found.factor
        off = f"{max(guess / mpp, mpp / guess):.2f}" if mpp else ""
        said = f"refused: {found.problem}" if found.problem else f"{guess:.2f}"
        known = f"{mpp:.3g}" if mpp else "?"
        print(f"| {name} | {known} | {said} | {'' if found.problem else off} |", flush=True)
    print(f"\nrange: {GLAS_MPP * TRIED[0]:.2f} to {GLAS_MPP * TRIED[-1]:.2f}")


if __name__ == "__main__":
    main()
