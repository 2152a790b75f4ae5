"""Train a stain model: read tiles of both sides, train the CycleGAN, distil it, save it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathology import __version__
from pathology.core.artifact import fingerprint
from pathology.core.errors import PathologyError
from pathology.core.run_record import environment, now, write_run_record
from pathology.data.tile_pool import TilePool
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import CycleBatch, CycleStep
from pathology.stain.learned import SCHEMA, LearnedModel, StainCard
from pathology.stain.macenko import estimate_stains
from pathology.stain.matrix import Pixels
from pathology.stain.saved_style import StainError
from pathology.stain.student import StainStudent, distill
from pathology.stain.styles import tile_styles
from pathology.stain.tensors import to_tensor
from pathology.training.curves import draw_curves
from pathology.training.fabric import Precision, make_fabric
from pathology.training.loop import Loop, Values, fit, read_metrics
from pipelines.stain_fidelity import measure_fidelity
from pipelines.stain_inputs import SlideTiles, require_usable, sample_slides
from pipelines.stain_panel import draw_panel
from pipelines.stain_styles import styles_of

MPP_TOLERANCE = 0.02
ERROR_TILES = 32  # crops on which the student is compared with its teacher


@dataclass(frozen=True)
class TrainOptions:
    """How a training is run; nothing here is a setting of the model.

    device       auto, cpu, cuda or mps, with num_devices processes
    precision    32, or bf16 on hardware that has it
    panel_every  steps between two pictures of sample tiles
    assume_mpp   for slides that state none
    """

    device: str = "auto"
    num_devices: int = 1
    precision: Precision = "32"
    panel_every: int = 200
    assume_mpp: float | None = None
    tensorboard: bool = False


@dataclass(frozen=True, eq=False)
class Domains:
    """Tiles of the sources and of the target, and the sources' styles (N, 6)."""

    source: TilePool
    target: TilePool
    styles: Tensor
    mpp: float | None
    centres: tuple[str, ...]


def train_model(
    sources: Sequence[Path],
    target: Path,
    out: Path,
    config: CycleConfig,
    options: TrainOptions = TrainOptions(),
    *,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Callable[[str], None] = lambda line: None,
) -> LearnedModel:
    """Train on the tiles of any number of sources and save the model to out.

    Beside it, in OUT.run, lie metrics.jsonl, curves.png, panel.png and the checkpoint that the
    same command goes on from. Raises StainError where a side shows no tissue.
    """
    started = now()
    domains = read_domains(sources, target, config, options.assume_mpp, say)
    return train_on(domains, target.name, out, config, options, started, on_step=on_step, say=say)


def train_on(
    domains: Domains,
    target_name: str,
    out: Path,
    config: CycleConfig,
    options: TrainOptions,
    started: str,
    *,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Callable[[str], None] = lambda line: None,
) -> LearnedModel:
    """The same on tiles that are in memory."""
    data = f"{domains.source.digest} {domains.target.digest}"
    recipe = fingerprint("stain training", SCHEMA, config, {"tiles": data})
    folder = out.with_name(f"{out.stem}.run")
    folder.mkdir(parents=True, exist_ok=True)
    fabric = make_fabric(options.device, options.precision, options.num_devices)
    fabric.launch()
    update = CycleStep(config, backward=fabric.backward, setup=fabric.setup)
    update.averaged.to(fabric.device)
    draw = partial(draw_batch, domains, config, fabric.global_rank, fabric.device)
    write = _writer(folder / "tensorboard") if options.tensorboard else None

    def watch(step: int, values: Values) -> None:
        if write is not None:
            write(step, values)
        on_step(step, values)

    def keep(step: int) -> None:
        draw_curves(read_metrics(folder / "metrics.jsonl"), folder / "curves.png", out.stem)
        draw_panel(folder / "panel.png", update, domains.source, domains.target, domains.styles)

    loop = Loop(config.steps, every=min(20, options.panel_every), keep=options.panel_every)
    start = fit(
        update, draw, loop, folder, recipe, is_first=fabric.is_global_zero,
        on_step=watch, on_keep=keep,
    )  # fmt: skip
    if start:
        say(f"went on from step {start} of an earlier run")
    say("distilling the generator into its student")
    teacher = update.averaged.cpu()
    student, error = distil_student(teacher, domains, config)
    card = StainCard(
        config=config,
        mpp=domains.mpp,
        source=target_name,
        centres=domains.centres,
        holdout_centres=config.holdout_centres,
        num_source_tiles=len(domains.source),
        num_target_tiles=len(domains.target),
        training_data=data,
        steps=config.steps,
        student_error=error,
        version=__version__,
    )
    first = LearnedModel(card, teacher, student)
    fidelity = measure_fidelity(first, domains.source)
    model = LearnedModel(card.model_copy(update={"fidelity": fidelity}), teacher, student)
    if fabric.is_global_zero:
        model.save(out)
        facts = {
            "stage": "stain train",
            "model": str(out),
            "fingerprint": model.fingerprint,
            "card": model.card.model_dump(mode="json"),
            "device": str(fabric.device),
            "precision": options.precision,
            "num_devices": options.num_devices,
        }
        write_run_record(folder / "run.json", started, facts, environment())
    return model


def read_domains(
    sources: Sequence[Path],
    target: Path,
    config: CycleConfig,
    assume_mpp: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Domains:
    """Tiles of every source and of the target, all at one resolution, with the sources' styles."""
    targets = _sampled(target, config, config.mpp, assume_mpp, say)
    known = [slide.mpp for slide in targets if slide.mpp]
    mpp = config.mpp or (float(np.median(known)) if known else None)
    found = [
        (slide, slide.centre or path.stem)
        for path in sources
        for slide in _sampled(path, config, mpp, assume_mpp, say)
    ]
    kept = [(slide, centre) for slide, centre in found if centre not in config.holdout_centres]
    if not kept:
        held = ", ".join(config.holdout_centres)
        raise StainError(f"no source is left to train on: holdout_centres ({held}) names them all")
    _require_one_mpp([*targets, *(slide for slide, _ in kept)], mpp)
    styles = np.concatenate([styles_of(slide, StainConfig()) for slide, _ in kept])
    return Domains(
        TilePool.of_slides([slide.tiles_NHW3 for slide, _ in kept], [name for _, name in kept]),
        TilePool.of_slides([s.tiles_NHW3 for s in targets], [s.centre for s in targets]),
        torch.from_numpy(styles.reshape(-1, 6).astype(np.float32)),
        mpp,
        tuple(sorted({centre for _, centre in kept})),
    )


def domains_of(
    sources: Sequence[Pixels], centres: Sequence[str], targets: Sequence[Pixels]
) -> Domains:
    """Domains of slides' tiles that are in memory already."""
    config = StainConfig()
    styles = np.concatenate([tile_styles(tiles, config).matrix_N23 for tiles in sources])
    return Domains(
        TilePool.of_slides(sources, centres),
        TilePool.of_slides(targets, ["target"] * len(targets)),
        torch.from_numpy(styles.reshape(-1, 6).astype(np.float32)),
        None,
        tuple(sorted(set(centres))),
    )


def draw_batch(
    domains: Domains, config: CycleConfig, rank: int, device: torch.device, step: int
) -> CycleBatch:
    """The batch of one step: a function of seed, step and process, and of nothing else."""
    random = np.random.default_rng([config.seed, step, rank])
    size, crop = config.batch_size, config.crop_px
    source = domains.source.draw(random, size, crop)
    target = domains.target.draw(random, size, crop)
    other = domains.source.choose(random, size)
    return CycleBatch(
        to_tensor(source.pixels_BHW3).to(device),
        to_tensor(target.pixels_BHW3).to(device),
        domains.styles[source.tile_B].to(device),
        domains.styles[other].to(device),
    )


def distil_student(
    teacher: torch.nn.Module, domains: Domains, config: CycleConfig
) -> tuple[StainStudent, float]:
    """The student of a teacher, and its mean difference from it in grey levels on fresh crops."""
    small = config.student

    def draw(random: np.random.Generator) -> Tensor:
        half = max(1, small.batch_size // 4)
        sources = domains.source.draw(random, max(1, small.batch_size - half), small.crop_px)
        targets = domains.target.draw(random, half, small.crop_px)
        return to_tensor(np.concatenate([sources.pixels_BHW3, targets.pixels_BHW3]))

    torch.manual_seed(config.seed)
    student = distill(teacher, StainStudent(small), draw, small, config.seed)
    fresh = np.random.default_rng([config.seed, small.steps + 1])
    images = to_tensor(domains.source.draw(fresh, ERROR_TILES, small.crop_px).pixels_BHW3)
    with torch.no_grad():
        apart = (student(images).clamp(-1, 1) - teacher(images).clamp(-1, 1)).abs().mean()
    return student, round(float(apart) * 127.5, 3)


def _sampled(
    path: Path,
    config: CycleConfig,
    mpp: float | None,
    assume_mpp: float | None,
    say: Callable[[str], None],
) -> list[SlideTiles]:
    samples = sample_slides(
        path,
        size_px=config.tile_px,
        tiles_per_slide=config.tiles_per_slide,
        mpp=mpp,
        assume_mpp=assume_mpp,
    )
    for slide in samples:
        if slide.problem:
            say(f"{slide.slide_id}: left out: {slide.problem}")
    usable = require_usable(samples, path)
    num_tiles = sum(len(slide.tiles_NHW3) for slide in usable)
    pixels = np.concatenate([slide.tiles_NHW3.reshape(-1, 3) for slide in usable])
    problem = estimate_stains(pixels, StainConfig()).problem
    if problem:
        raise StainError(f"{path}: no stained tissue to learn from ({problem}). Give H&E tissue")
    say(f"{path}: {num_tiles:,} tiles of {len(usable)} slides")
    return usable


def _require_one_mpp(slides: Sequence[SlideTiles], mpp: float | None) -> None:
    """Raise StainError where tiles of different resolution would be mixed."""
    for slide in slides:
        if mpp and slide.mpp and abs(slide.mpp / mpp - 1) > MPP_TOLERANCE:
            raise StainError(
                f"{slide.slide_id}: its tiles have {slide.mpp:.4g} um/px, the others {mpp:.4g}. "
                "Tile both sides at one tile.mpp, or give the slides themselves and mpp=..."
            )


def _writer(folder: Path) -> Callable[[int, Values], None]:
    """A function that writes values for TensorBoard. Raises PathologyError where it is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PathologyError("--tensorboard needs it: pip install tensorboard") from error
    writer: Any = SummaryWriter(folder)

    def write(step: int, values: Values) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return write
