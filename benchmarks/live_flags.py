"""What do the checks of the live microscope catch? Limits of GlaS fields, asked about other tiles.

    python benchmarks/live_flags.py --data DATA [--tiles 300]

DATA is the folder with glas, lc25000_colon, mitos_pairs and crc_val_he_7k_subset. Limits are those
of fields of ten patients; the other three patients' fields say how often they are wrong, as they
are and out of focus; all else is what a model of such fields was not taught on.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pathology.inference.taught_limits import TaughtLimits, fit_limits
from pathology.inference.tile_checks import check_tiles, thumbnail_of
from pathology.models.encode import encode, prepare
from pathology.models.encoder import OFFLINE, make_encoder
from pipelines.flat_pictures import squares_of
from pipelines.live_limits import with_tissue

PX, MPP = 224, 0.62
HELD_OUT = {"glas-11", "glas-12", "glas-15"}


def tiles_of(paths: list[Path], mpp: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles with tissue of pictures at mpp, and the number of each one's picture."""
    tiles, pictures = [], []
    for number, path in enumerate(paths):
        pixels = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        size = [round(side * mpp / MPP) for side in pixels.shape[1::-1]]
        if mpp != MPP:
            how = cv2.INTER_AREA if mpp < MPP else cv2.INTER_CUBIC
            pixels = cv2.resize(pixels, size, interpolation=how)
        found = with_tissue(squares_of(pixels, PX), MPP)
        tiles.append(found)
        pictures += [number] * len(found)
    every = np.concatenate(tiles)
    rows = np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).astype(int))
    return every[rows], np.array(pictures)[rows]


def asked_about(data: Path, held: np.ndarray, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """Names and tiles of what limits are asked about."""
    yield "the same, other patients", held
    for um in (0.5, 1.0, 2.0, 3.0):
        blurred = [cv2.GaussianBlur(tile, (0, 0), um / MPP) for tile in held]
        yield f"the same, out of focus by {um:g} um", np.stack(blurred)
    yield "the same, red and green exchanged", np.ascontiguousarray(held[..., [1, 0, 2]])
    yield "the same, half as bright", held // 2
    lc = sorted((data / "lc25000_colon").rglob("*.jpeg"))
    yield "colon, another camera (LC25000)", tiles_of(lc[:: len(lc) // most + 1], MPP, most)[0]
    for scanner in ("aperio", "hamamatsu"):
        pairs = sorted((data / "mitos_pairs" / scanner).iterdir())
        quads = [np.tile(cv2.imread(str(p))[..., ::-1], (3, 3, 1)) for p in pairs[:most]]
        small = [cv2.resize(q, None, fx=0.25 / MPP, fy=0.25 / MPP, interpolation=cv2.INTER_AREA)
                 for q in quads]  # fmt: skip
        yield f"breast ({scanner})", np.stack([np.ascontiguousarray(q[:PX, :PX]) for q in small])
    for kind in ("ADI", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"):
        paths = sorted((data / "crc_val_he_7k_subset" / kind).iterdir())
        pixels = [cv2.imread(str(p))[..., ::-1] for p in paths]
        small = [cv2.resize(np.tile(p, (2, 2, 1)), None, fx=0.5 / MPP, fy=0.5 / MPP,
                            interpolation=cv2.INTER_AREA)[:PX, :PX] for p in pixels]  # fmt: skip
        yield f"colon, another laboratory ({kind})", np.ascontiguousarray(np.stack(small))


def states_of(tiles: np.ndarray, limits: TaughtLimits) -> list[str]:
    """What the checks say of each tile before the network."""
    corner = np.zeros((1, 2), np.int64)
    return [check_tiles(t, thumbnail_of(t, MPP), corner, PX, MPP, limits)[0] for t in tiles]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=300)
    given = parser.parse_args()
    encoder = prepare(make_encoder(OFFLINE), "cpu")
    with (given.data / "glas" / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    parts: dict[bool, list[Path]] = {False: [], True: []}
    for row in rows:
        parts[row["case_id"] in HELD_OUT].append(given.data / "glas" / row["file"])
    taught, pictures = tiles_of(parts[False], MPP, 3 * given.tiles)
    limits = fit_limits("", taught, encode(encoder, taught), pictures, MPP)
    print(f"limits of {limits.num_tiles} tiles of {limits.num_pictures} fields: sharpness "
          f"{limits.min_sharpness:.0f}, distance {limits.max_distance:.1f}")  # fmt: skip
    print("tiles | glass | blurred | unlike, of the rest | flagged at all")
    held = tiles_of(parts[True], MPP, given.tiles)[0]
    for name, tiles in asked_about(given.data, held, given.tiles):
        states = np.array(states_of(tiles, limits))
        rest = tiles[states == "waiting"]
        is_unlike = limits.distance(encode(encoder, rest)) > limits.max_distance
        unlike = float(is_unlike.mean()) if len(rest) else float("nan")
        flagged = 1 - (~is_unlike).sum() / len(tiles)
        glass, blurred = (float(np.mean(states == state)) for state in ("glass", "blurred"))
        shares = " | ".join(f"{share:.2f}" for share in (glass, blurred, unlike, flagged))
        print(f"| {name} | {len(tiles)} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
