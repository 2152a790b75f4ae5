"""Features and training steps per second on a GPU beside a straightforward PyTorch loop.

    python benchmarks/weak_gpu.py RUN MANIFEST --out DIR [--encoder tf_efficientnet_lite2]

Same network, same tiles, same batch, data loading and augmentation included. The plain loop is
fp32 with a DataLoader's processes; ours is measured in fp32 and in bf16, with the share of a step's
time in which the GPU waits for tiles.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import plain_loop
import torch
from PIL import Image
from weak import ours_training

from pathology.core.manifest import read_manifest
from pathology.models.encoder import Encoder, make_encoder
from pathology.tiling.store import open_tiles
from pathology.weak.config import WeakConfig
from pipelines.features import FeatureConfig, FeatureOptions, extract_features
from pipelines.grade_order import order_of
from pipelines.weak_train import WeakOptions

PRECISIONS = ("32", "bf16")
FEATURE_BATCH = 256


def write_files(run: Path, folder: Path, num_tiles: int) -> list[Path]:
    """Some tiles of each slide, as most training code keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for store_path in sorted((run / "tiles").glob("*.zarr")):
        store = open_tiles(store_path)
        for i in range(min(len(store), num_tiles)):
            path = folder / f"{store_path.stem}_{i}.jpg"
            if not path.exists():
                Image.fromarray(store.read([i])[0]).save(path, quality=92)
            paths.append(path)
    return paths


def ours_features(run: Path, out: Path, encoder: str, precision: str, device: str) -> float:
    """Tiles per second of the whole stage, reading and writing too."""
    config = FeatureConfig.model_validate({"encoder": encoder, "precision": precision})
    options = FeatureOptions(device=device, threads=torch.get_num_threads())
    start = time.perf_counter()
    rows = extract_features(run, out, config, options)
    return sum(row.num_tiles for row in rows) / (time.perf_counter() - start)


def network(encoder: str, config: WeakConfig, num_grades: int) -> torch.nn.Module:
    """The encoder with the head of a tile classifier, as anyone would write it."""
    learner: Encoder = make_encoder(encoder)
    head = torch.nn.Sequential(
        torch.nn.Linear(learner.num_features, config.width), torch.nn.ReLU(),
        torch.nn.Dropout(config.dropout), torch.nn.Linear(config.width, num_grades),
    )  # fmt: skip
    return torch.nn.Sequential(learner, head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="folder of a tiling run")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", default="tf_efficientnet_lite2")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, nargs="*", default=[14], help="of the plain loop")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tiles-per-slide", type=int, default=32)
    options = parser.parse_args()
    device, per_slide = options.device, options.tiles_per_slide
    if device == "cuda":
        print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    paths = write_files(options.run, options.out / "files", 40)
    labels = {s.slide_id: s.label for s in read_manifest(options.manifest).slides}
    grades = order_of(list(labels.values()), ())[0]
    config = WeakConfig(
        method="ce", grades=grades, encoder=options.encoder, tiles_per_slide=per_slide, epochs=1,
        epoch_tiles=6 * per_slide * options.steps, patience=1,
    )  # fmt: skip
    encode = partial(
        plain_loop.features_per_second, make_encoder(options.encoder), paths,
        device=device, batch=FEATURE_BATCH,
    )  # fmt: skip
    plain = max(encode(num) for num in options.workers)
    for precision in PRECISIONS:
        out = options.out / f"features_{precision}"
        ours = ours_features(options.run, out, options.encoder, precision, device)
        print(f"features/s, {precision}: {ours:.0f}, plain fp32 {plain:.0f}, x{ours / plain:.2f}",
              flush=True)  # fmt: skip
    files = plain_loop.TileFiles(
        paths, [grades.index(labels[path.stem.rpartition("_")[0]]) for path in paths],
        plain_loop.for_training(256),
    )  # fmt: skip
    batch = config.slides_per_step * per_slide
    plain = max(
        plain_loop.steps_per_second(
            network(options.encoder, config, len(grades)), files, batch, options.steps, num, device
        )
        for num in options.workers
    )
    for precision in PRECISIONS:
        ways = WeakOptions(device=device, precision=precision)
        out = options.out / f"train_{precision}.pt"
        speed, share = ours_training(options.run, options.manifest, out, config, ways)
        print(
            f"steps/s of {batch} tiles, all of the encoder, {precision}: {speed:.2f}, plain fp32 "
            f"{plain:.2f}, x{speed / plain:.2f}; waiting for tiles {share:.1%} of the time",
            flush=True,
        )
    if device == "cuda":
        print(f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the device")


if __name__ == "__main__":
    main()
