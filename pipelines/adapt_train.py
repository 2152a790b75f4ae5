"""Carry a classifier from labelled tiles to the unlabelled ones of another domain, and save it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from pathology import __version__
from pathology.adapt.balance import FeatureBalance
from pathology.adapt.batch import DomainBatch
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import TARGET, DomainClassifier
from pathology.adapt.prior import class_balance
from pathology.adapt.step import REBALANCE_EVERY, AdaptStep
from pathology.core.artifact import fingerprint
from pathology.core.errors import ConfigError
from pathology.core.run_record import environment, now, write_run_record
from pathology.data.splits import split_of_manifest
from pathology.models.card import SCHEMA, ModelCard, TileContract, save_classifier
from pathology.models.encode import prepare
from pathology.models.encoder import make_encoder
from pathology.stain.contract import StainMismatch
from pathology.training.curves import draw_curves
from pathology.training.fabric import device_of
from pathology.training.loop import Loop, Values, fit, read_metrics
from pipelines.adapt_inputs import (
    DomainFeatures,
    Say,
    class_numbers,
    classes_of,
    labels_of,
    read_domain,
)
from pipelines.adapt_scores import scores_without_labels, warnings_of
from pipelines.features import weights_digest
from pipelines.input_kinds import TileInput

VAL_SHARE = 0.2
INTENDED_USE = (
    "Research use only. Grades H&E tiles of the target domain, of the named size and resolution. "
    "It was taught without labels of that domain. Not for diagnosis."
)


@dataclass(frozen=True)
class AdaptOptions:
    """How an adaptation is run; nothing here is a setting of the model.

    labels, target_labels  manifests with labels, where source and target are none themselves; the
                target's are for figures alone, or for the oracle
    mpp         microns per pixel that the source's tiles are cut at; None: as they come
    target_mpp  of pictures of the target that state none
    weights     a file of the encoder's
    """

    device: str = "auto"
    labels: Path | None = None
    target_labels: Path | None = None
    mpp: float | None = None
    target_mpp: float | None = None
    weights: Path | None = None


@dataclass(frozen=True, eq=False)
class Domains:
    """What is learned from: the source in two parts, and the target.

    classes  benign first
    tiles    what the tiles are, and the encoder that made features of them
    names    of source and target, for the reader
    """

    train: DomainFeatures
    val: DomainFeatures
    target: DomainFeatures
    classes: tuple[str, ...]
    tiles: TileContract
    names: tuple[str, str]

    @property
    def parts(self) -> dict[str, DomainFeatures]:
        """The three by name."""
        return {"train": self.train, "val": self.val, "target": self.target}

    @cached_property
    def digest(self) -> str:
        """Digest of all features, and of the labels of the source."""
        digest = hashlib.sha256()
        for part in self.parts.values():
            digest.update(part.features_NF.tobytes())
            digest.update(part.slide_N.tobytes())
        for part in (self.train, self.val):
            digest.update(part.label_S.tobytes())
        return digest.hexdigest()[:12]


def train_adapt(
    domains: Domains,
    out: Path,
    config: AdaptConfig,
    *,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Say = lambda line: None,
) -> ModelCard:
    """Learn from the labelled source and the unlabelled target, and save the model to out.

    Beside it, in OUT.run, lie metrics.jsonl, curves.png and the checkpoint that the same command
    goes on from. A twin is taught by the source alone, in as many steps more, and its scores stand
    beside the others: what is no better than it is said to be so. The model that is saved is the
    target's; `predict` takes it like any other.
    """
    started = now()
    config = AdaptConfig.model_validate(config.model_dump() | {"classes": domains.classes})
    folder = out.with_name(f"{out.stem}.run")
    model = train_on(domains, config, folder, on_step=on_step, say=say)
    metrics = scores_of(model, domains)
    if has_twin(config):
        plain = config.model_copy(update={"method": "source", "terms": {}, "normalization": None})
        twin = train_on(
            domains, plain, folder / "source_only", say=say,
            on_step=lambda step, values: on_step(config.steps + step, values),
        )  # fmt: skip
        metrics |= {f"source_only_{k}": v for k, v in scores_of(twin, domains).items()}
    for line in warnings_of(metrics, domains.classes):
        say(line)
    card = ModelCard(
        grades=domains.classes,
        tiles=domains.tiles,
        method=config.method,
        settings=config.model_dump(mode="json"),
        num_slides={name: len(d.slide_ids) for name, d in domains.parts.items()},
        num_tiles={name: len(d.features_NF) for name, d in domains.parts.items()},
        training_data=domains.digest,
        metrics=metrics,
        task="adapt",
        source=domains.names[0],
        target=domains.names[1],
        version=__version__,
        intended_use=INTENDED_USE,
    )
    weights = model.folded(TARGET).state_dict()
    save_classifier(out, card, {f"bag.{name}": value for name, value in weights.items()})
    facts = {"stage": "train adapt", "model": str(out), "card": card.model_dump(mode="json")}
    write_run_record(folder / "run.json", started, facts, environment())
    return card


def has_twin(config: AdaptConfig) -> bool:
    """Whether a second classifier is taught, by the source alone, to compare with."""
    return config.method not in ("source", "target")


def scores_of(model: DomainClassifier, domains: Domains) -> dict[str, float]:
    """Scores of a classifier; see scores_without_labels."""
    return scores_without_labels(model, domains.train, domains.val, domains.target)


def read_domains(
    source: TileInput,
    target: TileInput,
    config: AdaptConfig,
    options: AdaptOptions,
    *,
    on_slide: Callable[[], None] = lambda: None,
    say: Say = lambda line: None,
) -> Domains:
    """Features of both sides; the source's cases in two parts, one of which only judges.

    Slides of the source that its manifest marks test are left out, those marked val judge.
    Labels are checked before any tile is read. Raises ConfigError where they do not do, and
    StainMismatch where the two sides are normalized otherwise.
    """
    known, hidden = labels_of(source, options.labels), labels_of(target, options.target_labels)
    classes = classes_of(known, config, say)
    class_of, hidden_class_of = (class_numbers(r, classes, config) for r in (known, hidden))
    device = device_of(options.device)
    encoder = make_encoder(config.encoder, weights=options.weights)
    ready = prepare(encoder, device)
    read = partial(
        read_domain, config=config, encoder=ready, device=device, say=say, on_slide=on_slide
    )
    labelled = read(source, class_of, mpp=options.mpp, is_labelled=True)
    unlabelled = read(
        target, hidden_class_of, mpp=labelled.mpp, assume_mpp=options.target_mpp,
        is_labelled=config.is_supervised,
    )  # fmt: skip
    if labelled.stain != unlabelled.stain:
        raise StainMismatch(
            f"{source.path}: stain is {labelled.stain}; {target.path}: {unlabelled.stain}. "
            "Normalize both with one model, or neither"
        )
    if labelled.mpp is None or unlabelled.mpp is None:
        which = "source" if labelled.mpp is None else "target"
        say(f"the {which} states no resolution; its tiles are taken as they are")
    there = [known[name] for name in labelled.slide_ids]
    split = split_of_manifest(there, VAL_SHARE, config.seed)
    number = {name: i for i, name in enumerate(labelled.slide_ids)}
    train, val = (
        labelled.chosen([number[name] for name in part]) for part in (split.train, split.val)
    )
    missing = set(range(len(classes))) - set(train.label_S.tolist())
    if missing:
        raise ConfigError(
            f"no slide of the source that is trained on is {classes[min(missing)]}. Each class "
            "needs several cases, of which a part is set aside"
        )
    tiles = TileContract(
        size_px=config.size_px,
        mpp=labelled.mpp,
        stain=labelled.stain,
        encoder=encoder.name,
        weights=weights_digest(encoder),
        encoder_px=config.tile_px,
        num_features=encoder.num_features,
    )
    return Domains(train, val, unlabelled, classes, tiles, (source.path.name, target.path.name))


def train_on(
    domains: Domains,
    config: AdaptConfig,
    folder: Path,
    *,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Say = lambda line: None,
) -> DomainClassifier:
    """The classifier with the moving average of its weights."""
    source, target, num_classes = domains.train, domains.target, len(domains.classes)
    torch.manual_seed(config.seed)
    model = DomainClassifier(source.features_NF.shape[1], num_classes, config.width, config.dropout)
    weight_C = class_balance(source.label_N, num_classes, config.term_weights().balance)
    balance = FeatureBalance(
        source.features_NF, source.label_N, target.features_NF, num_classes, config
    )
    update = AdaptStep(config, model, torch.from_numpy(weight_C).float(), balance)

    def draw(step: int) -> DomainBatch:
        random = np.random.default_rng([config.seed, step])
        one = random.integers(len(source.label_N), size=config.batch_size)
        other = random.integers(len(target.label_N), size=config.batch_size)
        label_T = target.label_N[other] if config.is_supervised else np.full(len(other), -1)
        return DomainBatch(
            torch.from_numpy(source.features_NF[one]),
            torch.from_numpy(source.label_N[one]),
            torch.ones(len(one)),
            torch.from_numpy(target.features_NF[other]),
            torch.from_numpy(label_T),
        )

    def keep(step: int) -> None:
        draw_curves(read_metrics(folder / "metrics.jsonl"), folder / "curves.png", config.method)

    loop = Loop(config.steps, every=20, keep=15 * REBALANCE_EVERY)
    inputs = {"data": domains.digest}
    if config.is_supervised:
        inputs["target labels"] = hashlib.sha256(target.label_S.tobytes()).hexdigest()[:12]
    recipe = fingerprint("adapt training", SCHEMA, config, inputs)
    start = fit(update, draw, loop, folder, recipe, on_step=on_step, on_keep=keep)
    if start:
        say(f"went on from step {start} of an earlier run")
    return update.averaged
