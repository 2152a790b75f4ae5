"""Train a tile classifier from slide labels: read, split, train, choose, learn the slide rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pathology.core.errors import ConfigError
from pathology.core.run_record import environment, now, write_run_record
from pathology.data.splits import Split, in_no_part, read_clam, require_apart, split_of_manifest
from pathology.models.card import ModelCard
from pathology.models.packaged import OFFLINE
from pathology.training.loop import Values
from pathology.weak.config import WeakConfig
from pipelines.weak_inputs import (
    NO_PART,
    LabelledSlides,
    TiledSlide,
    read_labelled,
    remark,
    require_several_grades,
)
from pipelines.weak_training import Training, WeakOptions

__all__ = ["WeakOptions", "WeakPlan", "plan_weak", "train_planned", "train_weak"]


@dataclass(frozen=True)
class WeakPlan:
    """What a training is about to learn from.

    root    where maps of grades are looked for
    config  with the order of the grades, and as many tiles in an epoch as there are to learn from
    """

    found: LabelledSlides
    split: Split
    root: Path
    config: WeakConfig
    started: str

    @property
    def num_steps(self) -> int:
        """At most; it may end before."""
        return self.config.epochs * self.config.steps_per_epoch

    @property
    def tiles_per_step(self) -> int:
        """Of all slides of a batch."""
        return self.config.slides_per_step * self.config.tiles_per_slide


def plan_weak(
    path: Path,
    labels: Path,
    config: WeakConfig,
    options: WeakOptions,
    say: Callable[[str], None] = lambda line: None,
) -> WeakPlan:
    """The labelled slides of a run or of a folder of features, checked and split.

    What is amiss with slides is said; raises ConfigError, ContractError or ArtifactError where
    there is nothing to train on.
    """
    started, found = now(), read_labelled(path, labels, config.grades)
    _require_own_encoder(found, config)
    config = _with_grades(config, found.grades)
    for line in (*found.remarks, *found.problems):
        say(line)
    split = _split(found, options, config.seed, say)
    for line in (*_unchosen(found, split), *_lacking(found, split), *_without_varied(found, split)):
        say(line)
    say(f"{len(split.train)} slides train, {len(split.val)} choose, {len(split.test)} are left out")
    num = sum(slide.num_tiles for slide in _that_train(found, split))
    config = config.for_tiles(num, is_pixels=found.kind == "pixels")
    return WeakPlan(found, split, options.data_root or labels.parent, config, started)


def train_planned(
    plan: WeakPlan,
    out: Path,
    options: WeakOptions,
    *,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Callable[[str], None] = lambda line: None,
) -> ModelCard:
    """Train, and save the model to out.

    Beside it, in OUT.run, lie metrics.jsonl, epochs.jsonl, curves.png and the checkpoint that the
    same command goes on from; best.pt, the best model so far, and at the end last.pt, the one of
    the last epoch.
    """
    training = Training(plan.found, plan.split, plan.root, out, plan.config, options)
    card = training.run(on_step, say)
    facts = {
        "stage": "train weak",
        "model": str(out),
        "card": card.model_dump(mode="json"),
        "split": {"train": plan.split.train, "val": plan.split.val, "test": plan.split.test},
        "problems": plan.found.problems,
        "wait_seconds": training.wait_seconds,
    }
    if training.fabric.is_global_zero:
        write_run_record(training.folder / "run.json", plan.started, facts, environment())
    return card


def train_weak(
    path: Path,
    labels: Path,
    out: Path,
    config: WeakConfig,
    options: WeakOptions,
    *,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Callable[[str], None] = lambda line: None,
) -> ModelCard:
    """Both, one after the other."""
    plan = plan_weak(path, labels, config, options, say)
    return train_planned(plan, out, options, on_step=on_step, say=say)


def _that_train(found: LabelledSlides, split: Split) -> list[TiledSlide]:
    ids = set(split.train)
    return [slide for slide in found.slides if slide.record.slide_id in ids]


def _require_own_encoder(found: LabelledSlides, config: WeakConfig) -> None:
    """Raise ConfigError where features are of another encoder than the settings ask for."""
    known, asked = found.tiles.encoder, config.encoder
    if found.kind == "features" and asked not in (OFFLINE, known or asked):
        raise ConfigError(f"encoder={asked}: the features are by {known}. Leave the setting out")


def _with_grades(config: WeakConfig, grades: tuple[str, ...]) -> WeakConfig:
    """The settings with the grades that labels have. Raises ConfigError where they do not fit."""
    try:
        return WeakConfig.model_validate(config.model_dump() | {"grades": grades})
    except ValidationError as error:
        said = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise ConfigError(f"{said}. By their labels the slides are {', '.join(grades)}") from error


def _unchosen(found: LabelledSlides, split: Split) -> list[str]:
    """A line where no slides choose, or where those that do are of one grade."""
    label_of = {slide.record.slide_id: slide.record.label for slide in found.slides}
    there = {label_of[slide_id] for slide_id in split.val}
    if not there:
        return [
            "no slides choose: all epochs are trained, the last one is kept, and what grades a "
            "slide is learned from slides that train, which flatter it. Put some into val"
        ]
    if len(there) == 1:
        return [
            f"the slides that choose all have one label ({there.pop()}): all epochs are trained "
            "and the last one is kept. Put slides of other grades into val"
        ]
    return []


def _lacking(found: LabelledSlides, split: Split) -> list[str]:
    """A line for each grade that no training slide has, or none of those that choose."""
    label_of = {slide.record.slide_id: slide.record.label for slide in found.slides}
    lines = []
    for part, said in (("train", "cannot be learned"), ("val", "is not chosen by")):
        there = {label_of[slide_id] for slide_id in getattr(split, part)}
        lacking = [grade for grade in found.grades if there and grade not in there]
        lines += [f"no {part} slide is {grade}: that grade {said}" for grade in lacking]
    return lines


def _without_varied(found: LabelledSlides, split: Split) -> list[str]:
    """A line where training draws fewer varied tiles than some of its slides have."""
    train = _that_train(found, split)
    counts = [slide.num_augmented for slide in train]
    least, most = min(counts, default=0), max(counts, default=0)
    few = [s.record.slide_id for s in train if s.num_augmented < most]
    said = f"that train have fewer varied tiles than others: {least}, not {most}, of each are drawn"
    lines: list[str] = []
    remark(lines, few, f"{said}. Encode again")
    return lines


def _split(
    found: LabelledSlides, options: WeakOptions, seed: int, say: Callable[[str], None]
) -> Split:
    """The split, checked: no case in two parts, several grades to learn from."""
    records = [slide.record for slide in found.slides]
    there = {record.slide_id for record in records}
    lines: list[str] = []
    if options.splits is not None:
        split = read_clam(options.splits)
        listed = (split.train, split.val, split.test)
        asked = {slide_id for part in listed for slide_id in part}
        remark(lines, sorted(asked - there), f"of {options.splits} are not here, or have no label")
        remark(lines, sorted(there - asked), f"are here and in no part of {options.splits}")
        parts = [[i for i in part if i in there] for part in listed]
        split = Split(split.name, *map(tuple, parts))
    else:
        split = split_of_manifest(records, options.val_share, seed)
        remark(lines, in_no_part(split, records), NO_PART)
    require_apart(split, records)
    for line in lines:
        say(line)
    require_several_grades(found, split.train, "training")
    return split
