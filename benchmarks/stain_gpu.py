"""Full-size CycleGAN on a GPU: training steps a second beside a plain fp32 loop, tiles a second.

    python benchmarks/stain_gpu.py mitos_pairs [--ways plain fp32 bf16] [--train 1500 --out DIR]

Same networks, same crops, loading included, all in one process and one run. The teacher's tiles per
second are those of 256 px, of the network alone and with what keeps glass; CPU and GPU are compared
pixel by pixel. --train goes on to train the full-size model for so many steps on all slides but 10
and scores it there.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import plain_cycle
import torch
from stain_scanners import QUALITIES, Pairs, read_pairs, score

from pathology.core.config import load_config
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import CycleStep
from pathology.stain.learned import LearnedModel
from pathology.stain.style_vector import home_of
from pathology.stain.tensors import paint
from pathology.training.fabric import Precision, make_fabric
from pipelines.stain_domains import Domains, domains_of, draw_batch
from pipelines.stain_train import TrainOptions, train_on

FULL = Path(__file__).parent.parent / "pipelines" / "configs" / "stain_full.yaml"
TEST = "10"
WARM_UP = 5
WAYS: dict[str, tuple[Precision, bool]] = {
    "fp32": ("32", False), "bf16": ("bf16", False), "compiled": ("bf16", True),
}  # fmt: skip


def ours(
    domains: Domains,
    config: CycleConfig,
    device: str,
    precision: Precision,
    seconds: float,
    *,
    is_compiled: bool,
) -> tuple[float, float]:
    """Updates in a second, and the seconds that the first ones took."""
    fabric = make_fabric(device, precision)
    home = home_of(domains.target.slide_NS.numpy(), domains.source.slide_NS.numpy())

    def setup(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> object:
        return fabric.setup(torch.compile(network) if is_compiled else network, optimizer)

    update = CycleStep(config, backward=fabric.backward, setup=setup, home=home)
    update.averaged.to(fabric.device)
    begun = start = time.perf_counter()
    for step in range(10**6):
        if step == WARM_UP:
            start = time.perf_counter()
        update(draw_batch(domains, config, 0, fabric.device, step), step)
        if step > WARM_UP and time.perf_counter() - start > seconds:
            break
    return (step - WARM_UP + 1) / (time.perf_counter() - start), start - begun


def profile_step(domains: Domains, config: CycleConfig, device: str, precision: Precision) -> str:
    """What one step's time on a device goes into, kernel by kernel, after the first ones."""
    fabric = make_fabric(device, precision)
    home = home_of(domains.target.slide_NS.numpy(), domains.source.slide_NS.numpy())
    update = CycleStep(config, backward=fabric.backward, setup=fabric.setup, home=home)
    update.averaged.to(fabric.device)
    for step in range(WARM_UP):
        update(draw_batch(domains, config, 0, fabric.device, step), step)
    batch = draw_batch(domains, config, 0, fabric.device, WARM_UP)
    with torch.profiler.profile() as found:
        update(batch, WARM_UP)
    by = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=by, row_limit=30))


def teacher_speed(
    model: LearnedModel, tiles: np.ndarray, device: str, seconds: float
) -> list[float]:
    """Tiles of 256 px in a second: of the network with its transfers, and rendered whole."""
    config = StainConfig(quality="teacher")
    model.device = device
    normalizer = model.for_slide(tiles, config)
    network = model.teacher.to(device)
    style = normalizer.style_S  # type: ignore[attr-defined]

    def once() -> None:
        for _ in paint(network, tiles, model.teacher.multiple_px, device, style):
            pass

    found = []
    for work in (once, lambda: normalizer.render(tiles)):
        work()
        start, num = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            work()
            num += len(tiles)
        found.append(num / (time.perf_counter() - start))
    return found


def parity(model: LearnedModel, tiles: np.ndarray, device: str) -> dict[str, list[float]]:
    """Greatest and mean difference in gray levels between CPU and device, by quality."""
    found = {}
    for quality in QUALITIES:
        made = []
        for place in ("cpu", device):
            model.device = place
            normalizer = model.for_slide(tiles, StainConfig(quality=quality))
            made.append(normalizer.render(tiles).tiles.astype(int))
        apart = np.abs(made[0] - made[1])
        found[quality] = [float(apart.max()), round(float(apart.mean()), 5)]
    return found


def read(folder: Path) -> tuple[dict[str, Pairs], Domains, tuple[list[Path], list[Path]]]:
    """All pairs; the slides that are trained on; and the files of the same."""
    slides = read_pairs(folder)
    others = [pairs for slide, pairs in slides.items() if slide != TEST]
    domains = domains_of(
        [pairs.source for pairs in others], ["aperio"] * len(others),
        [pairs.target for pairs in others],
    )  # fmt: skip
    files = tuple(
        [p for p in sorted((folder / name).glob("*.png")) if not p.name.startswith(TEST)]
        for name in ("aperio", "hamamatsu")
    )
    return slides, domains, (files[0], files[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pairs", type=Path, help="folder with pairs.csv (MITOS-ATYPIA-14)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=8, help="loaders of the plain loop")
    parser.add_argument("--train", type=int, default=0, metavar="STEPS")
    parser.add_argument("--ways", nargs="*", choices=("plain", *WAYS), default=["plain", *WAYS])
    parser.add_argument("--profile", action="store_true", help="of one step in bf16")
    parser.add_argument("--out", type=Path, default=Path("stain_gpu"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    config = load_config(CycleConfig, FULL, options.set)
    slides, domains, files = read(options.pairs)
    device, seconds = options.device, options.seconds
    options.out.mkdir(parents=True, exist_ok=True)
    if device == "cuda":
        print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    plain = math.nan
    home = home_of(domains.target.slide_NS.numpy(), domains.source.slide_NS.numpy())
    if "plain" in options.ways:
        plain = plain_cycle.steps_per_second(config, home, files, device, seconds, options.workers)
        print(f"plain loop, fp32: {plain:.2f} steps/s of batch {config.batch_size}", flush=True)
    for way in (way for way in options.ways if way != "plain"):
        precision, is_compiled = WAYS[way]
        speed, first = ours(domains, config, device, precision, seconds, is_compiled=is_compiled)
        print(f"ours, {way}: {speed:.2f} steps/s, x{speed / plain:.2f}; first {WARM_UP} in "
              f"{first:.0f} s", flush=True)  # fmt: skip
    if options.profile:
        print(profile_step(domains, config, device, "bf16" if device == "cuda" else "32"))
    if options.train:
        config = config.model_copy(update={"steps": options.train})
        start = time.perf_counter()
        train = TrainOptions(device=device, precision="bf16", panel_every=500)
        model = train_on(domains, "hamamatsu", options.out / "full.pt", config, train, "")
        print(f"trained {options.train} steps and distilled in {time.perf_counter() - start:.0f} s")
        source = slides[TEST].source
        for quality in QUALITIES:
            normalizer = model.for_slide(source, StainConfig(quality=quality))
            ssim, psnr = score(normalizer.render(source).tiles, slides[TEST])
            print(f"slide {TEST}, {quality}: SSIM {ssim:.3f} PSNR {psnr:.2f}", flush=True)
        tiles = np.concatenate([pairs.source for pairs in slides.values()])[:128]
        alone, whole = teacher_speed(model, tiles, device, seconds / 2)
        print(f"teacher: {alone:.0f} tiles/s, {whole:.0f} with what keeps glass", flush=True)
        print("CPU and device apart, greatest and mean gray levels:",
              json.dumps(parity(model, tiles[:16], device)), flush=True)  # fmt: skip
    if device == "cuda":
        print(f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the device")


if __name__ == "__main__":
    main()
