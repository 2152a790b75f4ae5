"""Slides of five simulated centres from real fields, the same ones in each, and their tiles.

The slides are painted by the project's cohort maker (make_slides.py), whose re-rendering of a slide
from one centre to another is exact: what a normalizer should give is known for every pixel.
"""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from pathology.slides import jpeg

NUM_CENTRES, HELD_OUT = 5, 4
TILE_PX, JPEG_QUALITY = 224, 85


@dataclass(frozen=True)
class Slide:
    """Tiles of one slide in every centre it was rendered for, {centre: (N, px, px, 3)}.

    grades  (N,) of each tile by the truth: 0 healthy, 1 adenoma, 2 carcinoma
    """

    slide_id: str
    label: int
    tiles: dict[int, np.ndarray]
    grades: np.ndarray


def load_maker(path: Path) -> ModuleType:
    """The cohort maker, a script, as a module."""
    spec = importlib.util.spec_from_file_location("make_slides", path)
    assert spec is not None and spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    sys.modules["make_slides"] = maker
    spec.loader.exec_module(maker)
    return maker


def make_slides(
    maker: ModuleType,
    folder: Path,
    split: tuple[str, str],
    num: int,
    seed: int,
    centres: Sequence[Sequence[int]],
    tiles_per_slide: int,
) -> list[Slide]:
    """Paint num slides of (split by, split), and tiles of each in every centre of its list.

    The tiles are compressed as the maker's slides are: JPEG at quality 85.
    """
    kept = folder / f"{split[0]}_{split[1]}_{seed}_{num}_{tiles_per_slide}.npz"
    if kept.exists():
        return load(kept)
    patients, folds = maker.SPLITS[split]
    fields = maker.load_fields(maker.DATA / "glas" / "labels.csv", patients, folds)
    folder.mkdir(parents=True, exist_ok=True)
    slides = []
    for number in range(num):
        label = number % 3
        random = np.random.default_rng([seed, number])
        pixels, truth, _ = maker.paint(fields, label, 0, random)  # centre 0: material as it is
        corners = _corners(truth, maker.TRUTH_SCALE)
        corners = corners[random.permutation(len(corners))[:tiles_per_slide]]
        grades = np.array([_grade(truth, xy, maker.TRUTH_SCALE) for xy in corners])
        cut = [pixels[y : y + TILE_PX, x : x + TILE_PX] for x, y in corners[grades >= 0].tolist()]
        tiles = {
            centre: np.stack([_compressed(maker.restain(tile, centre)) for tile in cut])
            for centre in centres[number]
        }
        slides.append(Slide(f"{split[1]}_{seed}_{number:03d}", label, tiles, grades[grades >= 0]))
    save(kept, slides)
    return slides


def _corners(truth: np.ndarray, scale: int) -> np.ndarray:
    """Corners (N, 2) as x, y of a grid's tiles of which three quarters are tissue."""
    edge = TILE_PX // scale
    rows, columns = truth.shape[0] // edge, truth.shape[1] // edge
    blocks = (truth[: rows * edge, : columns * edge] > 0).reshape(rows, edge, columns, edge)
    found = np.argwhere(blocks.mean(axis=(1, 3)) >= 0.75)
    return found[:, ::-1] * TILE_PX


def _compressed(tile: np.ndarray) -> np.ndarray:
    return jpeg.decode(jpeg.encode(tile, JPEG_QUALITY, "420"), (TILE_PX, TILE_PX))


def _grade(truth: np.ndarray, xy: np.ndarray, scale: int) -> int:
    """The grade of at least three quarters of a tile's tissue, or -1."""
    x, y = (xy // scale).tolist()
    edge = TILE_PX // scale
    inside = truth[y : y + edge, x : x + edge]
    counts = np.bincount(inside[inside > 0], minlength=4)[1:4]
    return int(counts.argmax()) if counts.max() >= 0.75 * max(1, counts.sum()) else -1


def save(path: Path, slides: list[Slide]) -> None:
    arrays = {"ids": np.array([s.slide_id for s in slides]), "labels": [s.label for s in slides]}
    for number, slide in enumerate(slides):
        arrays[f"{number}_grades"] = slide.grades
        for centre, tiles in slide.tiles.items():
            arrays[f"{number}_tiles_{centre}"] = tiles
    np.savez(path, **arrays)


def load(path: Path) -> list[Slide]:
    slides = []
    with np.load(path) as kept:
        for number, (slide_id, label) in enumerate(zip(kept["ids"], kept["labels"], strict=True)):
            names = [name for name in kept.files if name.startswith(f"{number}_tiles_")]
            tiles = {int(name.rsplit("_", 1)[1]): kept[name] for name in names}
            slides.append(Slide(str(slide_id), int(label), tiles, kept[f"{number}_grades"]))
    return slides
