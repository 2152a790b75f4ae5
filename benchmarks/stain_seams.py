"""Seams: how much do neighbouring tiles differ at their border after a generator rendered them?

The same CycleGAN with each kind of normalization in its generators, without a condition, and with
one intermediate domain, trained alike on the simulated centres, renders real fields cut into tiles:
each by itself, with what its neighbors show as tile stores are rendered, and whole as whole slides
are. The ratio is the mean step of color across tile borders over the mean step just inside of them;
1 is no seam.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import stain_cohort as cohort
from measure import keep_to_cores
from stain_centres import read_data
from stain_scanners import spread

KINDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "running": ("generator.norm=running",),
    "instance": ("generator.norm=instance",),
    "plain": ("condition=none",),
    "intermediate": ("intermediate=grey",),
}
TILE_PX, FIELD = 128, (768, 512)  # a field, cropped, holds 6 x 4 tiles


@dataclass(frozen=True)
class Job:
    """One generator to train and look at."""

    options: argparse.Namespace
    kind: str
    seed: int


def read_fields(options: argparse.Namespace) -> list[np.ndarray]:
    """Fields of the test split, (512, 768, 3) each, in the centres 1 to 4 in turn."""
    maker = cohort.load_maker(options.maker)
    patients, folds = maker.SPLITS[options.split_by, "test"]
    found = maker.load_fields(maker.DATA / "glas" / "labels.csv", patients, folds)
    pixels = [field for fields in found.values() for _, field in fields]
    width, height = FIELD
    whole = [field for field in pixels if field.shape[0] >= height and field.shape[1] >= width]
    return [
        maker.restain(np.ascontiguousarray(field[:height, :width]), 1 + number % 4)
        for number, field in enumerate(whole[: options.fields])
    ]


def ratios(fields: list[np.ndarray]) -> tuple[float, float]:
    """Mean seam ratio and offset ratio of fields at the borders of their tiles."""
    from pathology.stain.seams import mosaic_seams

    scores = [mosaic_seams(field, TILE_PX) for field in fields]
    return float(np.mean([s.ratio for s in scores])), float(
        np.mean([s.offset_ratio for s in scores])
    )


def cut(field: np.ndarray) -> np.ndarray:
    """Its tiles, row by row."""
    rows, columns = (size // TILE_PX for size in field.shape[:2])
    tiles = field.reshape(rows, TILE_PX, columns, TILE_PX, 3).swapaxes(1, 2)
    return tiles.reshape(-1, TILE_PX, TILE_PX, 3)


def joined(tiles: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The field of such tiles."""
    rows, columns = (size // TILE_PX for size in shape[:2])
    return tiles.reshape(rows, columns, TILE_PX, TILE_PX, 3).swapaxes(1, 2).reshape(shape)


def by_tile(normalizer: Any, field: np.ndarray) -> np.ndarray:
    """A field whose tiles were rendered each by itself."""
    return joined(normalizer.render(cut(field)).tiles, field.shape)


def with_neighbors(normalizer: Any, field: np.ndarray) -> np.ndarray:
    """A field whose tiles were rendered as those of a store."""
    from pathology.stain.seams import NOBODY
    from pathology.stain.tile_renderer import fill_window

    around = min(normalizer.margin_px, TILE_PX - 1)
    rows, columns = (size // TILE_PX for size in field.shape[:2])
    places = np.pad(np.arange(rows * columns).reshape(rows, columns), 1, constant_values=NOBODY)
    tile_of = dict(enumerate(cut(field)))
    edge = TILE_PX + 2 * around
    windows = np.empty((rows * columns, edge, edge, 3), np.uint8)
    for number, window in enumerate(windows):
        row, column = divmod(number, columns)
        fill_window(window, places[row : row + 3, column : column + 3], tile_of, around)
    return joined(normalizer.render_middle(windows, around).tiles, field.shape)


def run_job(job: Job) -> dict[str, Any]:
    """Train one generator and measure its seams."""
    import torch

    torch.set_num_threads(1)
    from pathology.core.config import load_config
    from pathology.stain.config import StainConfig
    from pathology.stain.cycle_config import CycleConfig
    from pathology.stain.learned import LearnedModel
    from pipelines.stain_domains import domains_of
    from pipelines.stain_train import TrainOptions, train_on

    options = job.options
    said = [*options.set, *KINDS[job.kind], f"seed={job.seed}"]
    config = load_config(CycleConfig, None, said)
    path = options.out / f"norm_{job.kind}_{job.seed}.pt"
    if path.exists() and LearnedModel.load(path).card.config == config:
        model = LearnedModel.load(path)
    else:
        data = read_data(options)
        sources = [(tiles, f"centre{c}") for s in data.sources for c, tiles in s.tiles.items()]
        domains = domains_of(
            [tiles for tiles, _ in sources],
            [name for _, name in sources],
            [slide.tiles[0] for slide in data.targets],
        )
        settings = TrainOptions(device="cpu", panel_every=200)
        model = train_on(domains, "centre0", path, config, settings, "")
    fields = read_fields(options)
    found: dict[str, Any] = {"kind": job.kind, "seed": job.seed, "source": ratios(fields)}
    for quality in ("teacher", "lut"):
        normalizers = [
            model.for_slide(field[None], StainConfig(quality=quality)) for field in fields
        ]
        pairs = list(zip(normalizers, fields, strict=True))
        found[f"{quality}, tile by tile"] = ratios([by_tile(n, field) for n, field in pairs])
        found[f"{quality}, with neighbors"] = ratios([with_neighbors(n, f) for n, f in pairs])
        found[f"{quality}, whole"] = ratios([n.render(f[None]).tiles[0] for n, f in pairs])
    return found


def table(done: list[dict[str, Any]]) -> str:
    """Markdown: ratio and offset ratio by kind and way of rendering, spread over seeds."""
    lines = ["| kind | rendered | step ratio | offset ratio |", "|---|---|--:|--:|"]
    ways = [name for name in done[0] if name not in ("kind", "seed")]
    for kind in dict.fromkeys(found["kind"] for found in done):
        mine = [found for found in done if found["kind"] == kind]
        for way in ways:
            if way == "source" and kind != done[0]["kind"]:
                continue
            cells = [spread([found[way][k] for found in mine], 3) for k in (0, 1)]
            name = "(before)" if way == "source" else kind
            lines.append(f"| {name} | {way} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maker", type=Path, help="make_slides.py, the cohort maker")
    parser.add_argument("--out", type=Path, required=True, help="as of stain_centres.py")
    parser.add_argument("--split-by", choices=("field", "case"), default="field")
    parser.add_argument("--stain-slides", type=int, default=24)
    parser.add_argument("--train-slides", type=int, default=45)
    parser.add_argument("--test-slides", type=int, default=24)
    parser.add_argument("--tiles-per-slide", type=int, default=20)
    parser.add_argument("--fields", type=int, default=12)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    options = parse(words)
    keep_to_cores(options.jobs)
    read_data(options)
    jobs = [Job(options, kind, seed) for seed in range(options.seeds) for kind in options.kinds]
    done = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for found in pool.map(run_job, jobs):
            print(json.dumps(found), flush=True)
            done.append(found)
    (options.out / "seams.json").write_text(json.dumps(done, indent=1))
    print(table(done))


if __name__ == "__main__":
    main(sys.argv[1:])
