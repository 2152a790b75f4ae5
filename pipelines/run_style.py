"""The stage of a run that takes its stain style from one of its own centres."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from pathology.core.errors import ConfigError
from pathology.stain.config import StainConfig
from pipelines.first_process import is_first, tell
from pipelines.input_kinds import TileInput, look_at
from pipelines.run_plan import Planned, recipe_of, tiles_digest
from pipelines.stages import Stage
from pipelines.stain_fit import fit_model
from pipelines.stain_train import TrainOptions, train_model
from pipelines.training_progress import training_progress


def style_stage(run: Planned, config: StainConfig, centre: str) -> Stage:
    """style: a classical method fitted to a centre, or a CycleGAN learned from all the others.

    Slides that are marked test are not looked at. Raises ConfigError for a centre that no other
    slide has.
    """
    learned = run.config.stain_train
    seen = {s.slide_id: s.centre for s in run.labels.slides if s.split != "test"}
    others = {slide_id for slide_id, name in seen.items() if name != centre}
    targets = seen.keys() - others
    if not targets or (learned is not None and not others):
        there = ", ".join(sorted(set(seen.values()) - {""})) or "none"
        lacks = "no slide to take the style from" if not targets else "no slide of another centre"
        raise ConfigError(
            f"stain_target={centre}: {lacks}. Centres of the table of slides, test apart: {there}"
        )

    product = run.folder.style(is_learned=learned is not None)

    def work() -> int:
        given = look_at(run.folder.out)
        target = replace(_some(given, targets), path=given.path / centre)
        if learned is None:
            fit_model(target, product, config, tell)
            return 0
        options = TrainOptions(device=run.options.device, num_devices=run.options.num_devices)
        with training_progress("style", learned.steps, is_shown=is_first()) as on_step:
            train_model(
                [_some(given, others)], target, product, learned, options,
                on_step=on_step, say=tell,
            )  # fmt: skip
        return 0

    def recipe() -> str:
        return recipe_of(
            "style", config if learned is None else learned, centre=centre,
            tiles=tiles_digest(run.folder.out), targets=" ".join(sorted(targets)),
            others="" if learned is None else " ".join(sorted(others)),
        )  # fmt: skip

    is_shared = learned is not None
    return Stage("style", work, recipe, (product,), ("tile",), is_shared=is_shared)


def _some(given: TileInput, slide_ids: Collection[str]) -> TileInput:
    """Some slides of a run, those of them that have no tiles left out."""
    stores = tuple(path for path in given.stores if path.stem in slide_ids)
    return replace(given, stores=stores, rejected=())
