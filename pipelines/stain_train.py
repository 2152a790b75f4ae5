"""Train a stain model: read tiles of both sides, train the CycleGAN, distil it, save it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathology import __version__
from pathology.core.artifact import fingerprint
from pathology.core.output_place import require_model_place, run_folder
from pathology.core.run_record import environment, now, write_run_record
from pathology.core.state import load_state
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import CycleStep, told
from pathology.stain.jitter import channel_factors
from pathology.stain.learned import SCHEMA, LearnedModel, StainCard
from pathology.stain.networks import StyleGenerator, for_use
from pathology.stain.rerender import restained, restyled
from pathology.stain.student import StainStudent, distill, student_of
from pathology.stain.style_vector import home_of
from pathology.stain.tensors import to_tensor
from pathology.training.curves import draw_curves
from pathology.training.fabric import Precision, make_fabric
from pathology.training.loop import Loop, Values, fit, read_metrics
from pathology.training.numbers import require_numbers
from pathology.training.tensorboard import also_to
from pipelines.input_kinds import TileInput, as_input
from pipelines.stain_domains import Domains, StyledTiles, draw_batch, read_domains
from pipelines.stain_fidelity import measure_fidelity
from pipelines.stain_panel import Panels

ERROR_TILES = 32  # crops on which the student is compared with its teacher


@dataclass(frozen=True)
class TrainOptions:
    """How a training is run; nothing here is a setting of the model.

    device       auto, cpu, cuda or mps, with num_devices processes
    precision    32, or bf16 on hardware that has it
    panel_every  steps between two pictures of sample tiles
    assume_mpp   for slides that state none
    is_compiled  whether torch translates the networks first: a minute, for faster steps on a GPU
    """

    device: str = "auto"
    num_devices: int = 1
    precision: Precision = "32"
    panel_every: int = 200
    assume_mpp: float | None = None
    tensorboard: bool = False
    is_compiled: bool = False


def train_model(
    sources: Sequence[Path | TileInput],
    target: Path | TileInput,
    out: Path,
    config: CycleConfig,
    options: TrainOptions = TrainOptions(),
    *,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Callable[[str], None] = lambda line: None,
) -> LearnedModel:
    """Train on the tiles of any number of sources and save the model to out.

    Beside it, in OUT.run, lie metrics.jsonl, curves.png, panel.png, those of earlier steps in
    panels, and the checkpoint that the same command goes on from; so does one that differs only in
    what is used of the generator, and in the student. Raises StainError where a side shows no
    tissue, or is normalized already, ConfigError where the loss becomes no number.
    """
    started = now()
    given = as_input(target)
    require_model_place(out, given.path, *(as_input(source).path for source in sources))
    domains = read_domains(sources, given, config, options.assume_mpp, say)
    name = given.path.name
    return train_on(domains, name, out, config, options, started, on_step=on_step, say=say)


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
    data = f"{domains.source.pool.digest} {domains.target.pool.digest}"
    recipe = fingerprint("stain training", SCHEMA, config.of_training(), {"tiles": data})
    folder = run_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    fabric = make_fabric(options.device, options.precision, options.num_devices)
    fabric.launch()
    home = home_of(domains.target.slide_NS.numpy(), domains.source.slide_NS.numpy())

    def setup(network: Any, optimizer: torch.optim.Optimizer) -> Any:
        made: Any = torch.compile(network) if options.is_compiled else network
        return fabric.setup(made, optimizer)

    update = CycleStep(config, backward=fabric.backward, setup=setup, home=home)
    update.averaged.to(fabric.device)
    draw = partial(draw_batch, domains, config, fabric.global_rank, fabric.device)
    is_first = fabric.is_global_zero
    if options.tensorboard:
        on_step = also_to(folder / "tensorboard", on_step, is_first=is_first)

    def keep(step: int) -> None:
        draw_curves(read_metrics(folder / "metrics.jsonl"), folder / "curves.png", out.stem)
        panels.draw(step, update, domains.source, domains.target)

    before = checkpoint_recipe(folder) if is_first else recipe
    if before not in ("", recipe):
        say("starting anew: the checkpoint is of other settings or tiles")
    panels = Panels(folder, is_new=before != recipe)
    loop = Loop(config.steps, every=gcd(20, options.panel_every), keep=options.panel_every)
    start = fit(
        update, draw, loop, folder, recipe, is_first=is_first, on_step=on_step, on_keep=keep
    )
    if start:
        say(f"went on from step {start} of an earlier run")
    say("distilling the generator into its student")
    teacher = for_use(update.averaged, config.kept_change)
    student, error = distil_student(teacher, domains, config, fabric.device)
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
    first = LearnedModel(card, teacher, student.cpu(), str(fabric.device))
    fidelity = measure_fidelity(first, domains.source.pool)
    model = LearnedModel(card.model_copy(update={"fidelity": fidelity}), teacher.cpu(), student)
    if is_first:
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


def checkpoint_recipe(folder: Path) -> str:
    """The recipe of the training whose checkpoint lies in a folder; "" where there is none."""
    path = folder / "checkpoint.pt"
    return str(load_state(path).get("recipe", "")) if path.is_file() else ""


def distil_student(
    teacher: StyleGenerator, domains: Domains, config: CycleConfig, device: torch.device
) -> tuple[StainStudent, float]:
    """The student of a teacher, and its mean difference from it in grey levels on fresh crops.

    Both are on the device in the end. Raises ConfigError where that is no number.
    """
    small = config.student
    is_told = teacher.is_told

    def draw(random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Sources, stained otherwise where the generator was trained so, and some targets."""
        half = max(1, small.batch_size // 4)
        num = max(1, small.batch_size - half)
        sources, own = _crops(domains.source, random, num, small.crop_px)
        targets, home = _crops(domains.target, random, half, small.crop_px)
        if is_told and config.stain_jitter:
            factor = channel_factors(random, num, config.stain_jitter)
            sources, own = restained(sources, factor), restyled(own, factor)
        return torch.cat([sources, targets]).to(device), torch.cat([own, home]).to(device)

    torch.manual_seed(config.seed)
    student = student_of(teacher, small).to(device)
    distill(teacher.to(device), student, draw, small, config.seed)
    fresh = np.random.default_rng([config.seed, small.steps + 1])
    images, own = (x.to(device) for x in _crops(domains.source, fresh, ERROR_TILES, small.crop_px))
    with torch.no_grad():
        made, wanted = (told(network, images, own) for network in (student, teacher))
        apart = (made.clamp(-1, 1) - wanted.clamp(-1, 1)).abs().mean()
    error = round(float(apart) * 127.5, 3)
    require_numbers([error], config.steps, config.learning_rate)  # of a teacher that has none, too
    return student, error


def _crops(
    tiles: StyledTiles, random: np.random.Generator, num: int, crop_px: int
) -> tuple[Tensor, Tensor]:
    """Pieces of tiles, and the styles of their slides."""
    crops = tiles.pool.draw(random, num, crop_px)
    return to_tensor(crops.pixels_BHW3), tiles.slide_NS[crops.tile_B]
