"""Carry a classifier from labelled tiles to the unlabelled ones of another domain, and save it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pathology import __version__
from pathology.adapt.config import AdaptConfig
from pathology.adapt.domain_norm import encoder_of, has_two
from pathology.adapt.network import TARGET, DomainClassifier
from pathology.core.manifest import SlideRecord
from pathology.core.output_place import run_folder
from pathology.core.run_record import environment, now, write_run_record
from pathology.models.card import ModelCard, save_classifier, taught_by
from pathology.models.encoder import Encoder
from pathology.training.fabric import Fabric, make_fabric
from pathology.training.loop import Values
from pipelines.adapt_choice import said_of
from pipelines.adapt_domains import AdaptOptions, Domains, read_domains
from pipelines.adapt_features import settings_of
from pipelines.adapt_inputs import Say
from pipelines.adapt_pictures import draw_differences, draw_embedding
from pipelines.adapt_scores import Seen, calibrate, scores_without_labels, see, warnings_of
from pipelines.adapt_training import train_on
from pipelines.features import weights_digest

__all__ = [
    "AdaptOptions", "Domains", "assumed_mpp", "has_twin", "read_domains", "run_folder",
    "train_adapt",
]  # fmt: skip

INTENDED_USE = (
    "Research use only. Grades H&E tiles of the target domain, of the named size and resolution. "
    "It was taught without labels of that domain. Not for diagnosis."
)


def train_adapt(
    domains: Domains,
    out: Path,
    config: AdaptConfig,
    options: AdaptOptions | None = None,
    *,
    fabric: Fabric | None = None,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    say: Say = lambda line: None,
) -> ModelCard:
    """Learn from the labelled source and the unlabelled target, and save the model to out.

    Beside it, in OUT.run, lie metrics.jsonl, curves.png and the checkpoint that the same command
    goes on from. A twin is taught by the source alone, in as many steps more, and its scores stand
    beside the others: what is no better than it is said to be so. domains.png shows both domains as
    either sees them, differences.png the target's tiles on which they differ most. The model that
    is saved is the target's; `predict` takes it like any other. Pixels that were kept to be trained
    on are removed in the end.

    fabric  processes that were started, all of which return the card; None: this one
    """
    started, options = now(), options or AdaptOptions()
    fabric = fabric or make_fabric(options.device, options.precision)
    settings = config.model_dump() | {"classes": domains.classes}
    config = settings_of(AdaptConfig.model_validate(settings), domains.tiles)
    folder = run_folder(out)
    chosen: list[int] = []
    model = train_on(
        domains, config, options, folder, fabric=fabric, on_step=on_step,
        on_chosen=chosen.append, say=say,
    )  # fmt: skip
    seen = see(model, domains.target, config)
    metrics = scores_of(seen, domains, config)
    if has_twin(config):
        plain = twin_of(config)
        twin = train_on(
            domains, plain, options, folder / "source_only", fabric=fabric, say=say,
            on_step=lambda step, values: on_step(config.steps + step, values),
        )  # fmt: skip
        before = see(twin, domains.target, plain)
        metrics |= {f"source_only_{k}": v for k, v in scores_of(before, domains, plain).items()}
        if fabric.is_global_zero:
            draw_embedding(folder / "domains.png", domains, config.method, before, seen)
            draw_differences(folder / "differences.png", domains, config.method, before, seen)
    warnings = tuple(warnings_of(metrics, domains.classes))
    for line in warnings:
        say(line)
    metrics |= calibrate(seen, domains.val)
    encoder = _encoder_in_use(model, domains)
    tiles = domains.tiles
    if encoder is not None:
        tiles = tiles.model_copy(update={"weights": weights_digest(encoder)})
    card = ModelCard(
        grades=domains.classes,
        tiles=tiles,
        method=config.method,
        settings=config.model_dump(mode="json"),
        num_slides={name: len(d.slide_ids) for name, d in domains.parts.items()},
        num_tiles={name: len(d) for name, d in domains.parts.items()},
        training_data=domains.digest,
        taught=_taught(domains, config),
        metrics=metrics,
        chosen_by=said_of(config, chosen[-1]),
        warnings=warnings,
        has_encoder=encoder is not None,
        task="adapt",
        source=domains.names[0],
        target=domains.names[1],
        version=__version__,
        intended_use=INTENDED_USE,
    )
    say(f"weights kept: {card.chosen_by}")
    fabric.barrier()  # until all have looked at the tiles
    if fabric.is_global_zero:
        save_classifier(out, card, _weights(model, encoder))
        domains.remove_files()
        facts = {
            "stage": "train adapt", "model": str(out), "card": card.model_dump(mode="json"),
            "num_devices": fabric.world_size, "assumed_mpp": domains.assumed_mpp,
        }  # fmt: skip
        write_run_record(folder / "run.json", started, facts, environment())
    return card


def assumed_mpp(out: Path) -> float | None:
    """Microns per pixel that a training took its target's pictures to have; None: they said it."""
    said = json.loads((run_folder(out) / "run.json").read_text(encoding="utf-8"))
    found = said.get("assumed_mpp")
    return None if found is None else float(found)


def has_twin(config: AdaptConfig) -> bool:
    """Whether a second classifier is taught, by the source alone, to compare with."""
    return config.method not in ("source", "target")


def twin_of(config: AdaptConfig) -> AdaptConfig:
    """The settings of a twin that never sees the target, nor is moved or chosen by it."""
    changes: dict[str, Any] = {"method": "source", "terms": {}, "normalization": None}
    changes["chosen_by"] = "source" if config.chosen_by == "source" else "last"
    way = config.layers_normalized_by()
    changes["batch_norm"] = "shared" if has_two(way) else way
    return config.model_copy(update=changes)


def scores_of(seen: Seen, domains: Domains, config: AdaptConfig) -> dict[str, float]:
    """Scores of a classifier; see scores_without_labels. Slides that taught are not counted."""
    target, is_taught_N = domains.target, domains.taught(config)
    asked_N = target.label_N >= 0
    if (asked_N & ~is_taught_N).any():
        asked_N &= ~is_taught_N
    return scores_without_labels(seen, domains.train, domains.val, target, asked_N)


def _taught(domains: Domains, config: AdaptConfig) -> tuple[str, ...]:
    """For the card: slides of the source, and those of the target whose labels are learned from.

    A slide of the source that is called like one of the target is known by its case alone.
    """
    target, start = domains.target, domains.start
    there = set(target.slide_ids)
    slides = [replace(r, slide_id="") if r.slide_id in there else r for r in domains.records]
    for number in np.unique(target.slide_N[domains.taught(config)]).tolist():
        name, case = target.slide_ids[number], domains.case_S[number]
        slides.append(SlideRecord(name, Path(), "" if case == name else case))
    return taught_by(slides, None if start is None else start.card)


def _encoder_in_use(model: DomainClassifier, domains: Domains) -> Encoder | None:
    """The encoder that goes into the file: for the target's tiles, or the one that was given."""
    if model.encoder is None:
        return domains.encoder
    return encoder_of(model.encoder, is_source=False)


def _weights(model: DomainClassifier, encoder: Encoder | None) -> dict[str, Tensor]:
    """Weights as BagClassifier names them."""
    head = model.folded(TARGET).state_dict()
    weights = {f"bag.{name}": value for name, value in head.items()}
    if encoder is not None:
        weights |= {
            f"encoder.{name}": value.detach().cpu().contiguous()
            for name, value in encoder.state_dict().items()
        }
    return weights
