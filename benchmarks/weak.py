"""Features and training steps per second beside a straightforward PyTorch loop, on two cores.

    python benchmarks/weak.py --out DIR [--repeats K]

Slides are simulated. Same network, same tiles, same batch, data loading and augmentation included;
the plain loop (plain_loop.py) is given its better number of loader processes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import plain_loop
import torch
from measure import keep_to_cores
from PIL import Image

from pathology.core.manifest import read_manifest
from pathology.models.encoder import OFFLINE, make_encoder
from pathology.simulate.cohort import simulate_cohort
from pathology.tiling.store import open_tiles
from pathology.weak.config import WeakConfig
from pathology.weak.network import bag_network
from pipelines.features import FeatureConfig, FeatureOptions, extract_features
from pipelines.grade_order import order_of
from pipelines.tile import TileOptions, run_tiling
from pipelines.weak_train import WeakOptions, train_weak

PIXELS = {
    "method": "ce", "tile_px": 128, "slides_per_step": 4, "tiles_per_slide": 8, "epochs": 1,
    "epoch_tiles": 12 * 32, "patience": 1,
}  # fmt: skip
FEATURES = {"method": "ce", "epochs": 40, "epoch_tiles": 192 * 10, "patience": 40}
LARGE = {"method": "ce", "epochs": 4, "epoch_tiles": 192 * 100, "patience": 4}
LARGE_TILES = 5_000  # of a slide: a resection's, at half a micron and 256 px
PROGRAM = """
import re, sys, threading, time
from pathlib import Path
from pathology.weak.config import WeakConfig
from pipelines.weak_train import WeakOptions, train_weak
peak, is_over = 0, False
def watch():
    global peak
    while not is_over:
        text = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+)", text)[1]))
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
config = WeakConfig(epochs=8, patience=8)
train_weak(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), config, WeakOptions("cpu"))
is_over = True
print(peak // 1024)
"""


class Data:
    """Simulated slides as a run, as features and as JPEG files; made once."""

    def __init__(self, folder: Path, num_slides: int, num_tiles: int) -> None:
        self.manifest, self.run = folder / "cohort" / "manifest.csv", folder / "run"
        self.features, self.files = folder / "features", folder / "files"
        self.maps, self.large = folder / "maps", folder / "large"
        if not self.manifest.exists():
            simulate_cohort(self.manifest.parent, num_slides=num_slides, seed=0, workers=2)
        run_tiling(TileOptions(self.manifest, self.run))
        self.labels = {s.slide_id: s.label for s in read_manifest(self.manifest).slides}
        self.grades = order_of(list(self.labels.values()), ())[0]
        self.stores = sorted((self.run / "tiles").glob("*.zarr"))
        self.paths, self.path_grades = self._write_files(num_tiles)

    def grade(self, name: str) -> int:
        return self.grades.index(self.labels[name])

    def write_large(self) -> None:
        """The features again, drawn until each slide has as many tiles as large ones have."""
        self.large.mkdir(exist_ok=True)
        for number, source in enumerate(sorted(self.features.glob("*.h5"))):
            _draw_rows(source, self.large / source.name, np.random.default_rng(number))

    def _write_files(self, num_tiles: int) -> tuple[list[Path], list[int]]:
        """The tiles as most training code keeps them."""
        self.files.mkdir(exist_ok=True)
        paths, grades = [], []
        for store_path in self.stores:
            store = open_tiles(store_path)
            for i in range(min(len(store), num_tiles)):
                path = self.files / f"{store_path.stem}_{i}.jpg"
                if not path.exists():
                    Image.fromarray(store.read([i])[0]).save(path, quality=92)
                paths.append(path)
                grades.append(self.grade(store_path.stem))
        return paths, grades


def ours_features(data: Data, out: Path) -> float:
    """Tiles per second of the whole stage, reading, translation of the encoder and writing too."""
    start = time.perf_counter()
    rows = extract_features(data.run, out, FeatureConfig(), FeatureOptions())
    return sum(row.num_tiles for row in rows) / (time.perf_counter() - start)


def ours_training(
    source: Path, labels: Path, out: Path, config: WeakConfig, options: WeakOptions
) -> list[float]:
    """Steps per second, and the share of their time that was spent waiting for tiles."""
    times: list[float] = []
    train_weak(
        source, labels, out, config, options,
        on_step=lambda step, values: times.append(time.perf_counter()),
    )  # fmt: skip
    seconds = times[-1] - times[plain_loop.LEAVE_OUT - 1]
    waited = json.loads((out.with_suffix(".run") / "run.json").read_text())["wait_seconds"]
    return [(len(times) - plain_loop.LEAVE_OUT) / seconds, waited / (times[-1] - times[0])]


def on_cpu(source: Path, data: Data, out: Path, settings: dict[str, object]) -> list[float]:
    """The same of simulated slides on a CPU."""
    config = WeakConfig.model_validate(settings)
    return ours_training(source, data.manifest, out, config, WeakOptions("cpu"))


def best_of(measure: Callable[[int], float]) -> float:
    """The better of loading in the same process and in two others."""
    return max(measure(0), measure(2))


def plain_on_features(data: Data, folder: Path, num_features: int) -> float:
    """Steps per second of the plain loop, with the same network and bags of the same size."""
    config = WeakConfig.model_validate(FEATURES | {"grades": data.grades})
    paths = sorted(folder.glob("*.h5"))
    bags = plain_loop.BagFiles(paths, [data.grade(p.stem) for p in paths], config.tiles_per_slide)

    class Tiles(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag = bag_network(config, num_features)

        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.bag(tiles).tile_BNC
            return logits

    return best_of(
        lambda n: plain_loop.steps_per_second(Tiles(), bags, config.slides_per_step, 100, n)
    )


def compare(data: Data, scratch: Path) -> dict[str, list[float]]:
    """One repeat of everything: ours, and theirs, of each kind."""
    num = len(data.grades)
    found: dict[str, list[float]] = {}
    found["features/s"] = [
        ours_features(data, scratch / "features"),
        best_of(lambda n: plain_loop.features_per_second(make_encoder(OFFLINE), data.paths, n)),
    ]
    pixels = WeakConfig.model_validate(PIXELS | {"grades": data.grades})
    encoder = make_encoder(OFFLINE)

    def network(num_blocks: int | None) -> torch.nn.Module:
        head = torch.nn.Sequential(
            torch.nn.Linear(encoder.num_features, pixels.width), torch.nn.ReLU(),
            torch.nn.Dropout(pixels.dropout), torch.nn.Linear(pixels.width, num),
        )  # fmt: skip
        learner = make_encoder(OFFLINE)
        learner.learn_last(num_blocks)
        learner.frozen = ()  # no gradients for the others, as anyone would, and no more than that
        return torch.nn.Sequential(learner, head)

    batch, steps = pixels.slides_per_step * pixels.tiles_per_slide, pixels.steps_per_epoch
    files = plain_loop.TileFiles(data.paths, data.path_grades, plain_loop.for_training(128))
    for name, blocks in (("all of the encoder", None), ("its last block", 1)):
        settings = PIXELS | {"encoder_blocks": blocks}
        out = scratch / f"pixels_{blocks}.pt"
        speed, share = on_cpu(data.run, data, out, settings)
        plain = partial(plain_loop.steps_per_second, network(blocks), files, batch, steps)
        found[f"steps/s on pixels, {name}"] = [speed, best_of(plain)]
        found[f"share of waiting, {name}"] = [share]
    settings = PIXELS | {"tile_px": None, "epoch_tiles": 100 * 32}
    speed, share = on_cpu(data.maps, data, scratch / "maps.pt", settings)
    _, theirs = found["steps/s on pixels, its last block"]  # which knows no maps
    found["steps/s, its last block, from maps"] = [speed, theirs]
    found["share of waiting, from maps"] = [share]
    for name, folder, settings in (
        ("features", data.features, FEATURES),
        (f"features, slides of {LARGE_TILES:,} tiles", data.large, LARGE),
    ):
        out = scratch / f"{folder.name}.pt"
        speed, share = on_cpu(folder, data, out, settings)
        found[f"steps/s on {name}"] = [speed, plain_on_features(data, folder, encoder.num_features)]
        found[f"share of waiting, {name}"] = [share]
    return found


def memory(data: Data, scratch: Path, times: int) -> tuple[int, int, int]:
    """Tiles, and peak MiB that belong to a training alone, with every slide so many times."""
    folder, labels = scratch / f"x{times}", scratch / f"x{times}.csv"
    folder.mkdir()
    lines = ["slide_id,case_id,label,slide_path"]
    num_tiles = 0
    for source in sorted(data.features.glob("*.h5")):
        for i in range(times):
            name = f"{source.stem}_{i}"
            _copy_named(source, folder / f"{name}.h5", name)
            lines.append(f"{name},{name},{data.labels[source.stem]},{name}.svs")
        num_tiles += times * _num_tiles(source)
    labels.write_text("\n".join(lines) + "\n")
    words = [sys.executable, "-c", PROGRAM, folder, labels, scratch / f"x{times}.pt"]
    done = subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True)
    return len(lines) - 1, num_tiles, int(done.stdout.split()[-1])


def _copy_named(source: Path, target: Path, name: str) -> None:
    import h5py

    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        for attributes in (file.attrs, *(item.attrs for item in file.values())):
            if "name" in attributes:
                attributes["name"] = name


def _draw_rows(source: Path, target: Path, rng: np.random.Generator) -> None:
    import h5py

    rows = rng.integers(_num_tiles(source), size=LARGE_TILES)
    with h5py.File(source) as file, h5py.File(target, "w") as copy:
        copy.attrs.update(file.attrs)
        for name, item in file.items():
            made = copy.create_dataset(name, data=item[...][rows], chunks=(256, item.shape[1]))
            made.attrs.update(item.attrs)


def _num_tiles(path: Path) -> int:
    import h5py

    with h5py.File(path) as file:
        return int(np.prod(file["features"].shape[:-1]))


def table(runs: list[dict[str, list[float]]]) -> str:
    """Markdown: medians, and the ratio within a repeat."""
    lines = ["| | ours | plain loop | ratio | range |", "|---|--:|--:|--:|---|"]
    for name in runs[0]:
        values = [run[name] for run in runs]
        middle = [statistics.median(column) for column in zip(*values, strict=True)]
        if len(middle) == 1:
            lines.append(f"| {name} | {middle[0]:.1%} | | | |")
            continue
        ratios = sorted(ours / theirs for ours, theirs in values)
        lines.append(
            f"| {name} | {middle[0]:.2f} | {middle[1]:.2f} | {statistics.median(ratios):.2f} | "
            f"{ratios[0]:.2f}-{ratios[-1]:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="data are kept here")
    parser.add_argument("--slides", type=int, default=12)
    parser.add_argument("--tiles", type=int, default=40, help="files a slide for the plain loop")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_to_cores(2)
    torch.set_num_threads(2)
    options.out.mkdir(parents=True, exist_ok=True)
    data = Data(options.out, options.slides, options.tiles)
    extract_features(data.run, data.features, FeatureConfig(), FeatureOptions())
    data.write_large()
    start = time.perf_counter()
    maps = {"size_px": PIXELS["tile_px"], "blocks_left": 1, "augmented": 4}
    extract_features(data.run, data.maps, FeatureConfig.model_validate(maps), FeatureOptions())
    print(f"maps of all tiles and of four varied copies: {time.perf_counter() - start:.0f} s, once")
    runs = []
    for repeat in range(options.repeats):
        scratch = options.out / "repeats" / str(repeat)
        if scratch.exists():
            raise SystemExit(f"{scratch} is there already: remove {scratch.parent} first")
        scratch.mkdir(parents=True)
        runs.append(compare(data, scratch))
        print(json.dumps(runs[-1]), flush=True)
    print(table(runs))
    for times in (1, 8):
        num_slides, num_tiles, peak = memory(data, options.out / "repeats", times)
        print(f"{num_slides} slides, {num_tiles} tiles of features: peak {peak} MiB of its own")


if __name__ == "__main__":
    main()
