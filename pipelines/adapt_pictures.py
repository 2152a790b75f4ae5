"""Pictures of an adaptation: both domains, before and after, and where answers changed most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pathology.adapt.balance import probabilities
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import SOURCE, TARGET, DomainClassifier
from pathology.evaluation.domain_plots import (
    Disagreement,
    DomainPoints,
    draw_disagreements,
    draw_domains,
)
from pathology.slides.reader import Pixels
from pipelines.adapt_domains import Domains
from pipelines.adapt_training import Looker

SHOWN = 500  # tiles of each domain in a chart
NUM_TILES, OF_A_SLIDE = 16, 2  # that are shown where answers differ most


def draw_embedding(
    path: Path,
    domains: Domains,
    config: AdaptConfig,
    before: DomainClassifier,
    after: DomainClassifier,
) -> None:
    """What two classifiers see before their last layer, of some tiles of both domains."""
    some = domains.train.some(SHOWN), domains.target.some(SHOWN)
    panels = {}
    for name, model in (("the source alone", before), (config.method, after)):
        look = Looker(model, config)
        points = []
        for part, domain, rows in zip(
            (domains.train, domains.target), (SOURCE, TARGET), some, strict=True
        ):
            features_NF = look(part, domain, rows)
            answer_N = probabilities(model, features_NF, domain).argmax(axis=1)
            class_N = part.label_N[rows] if domain == SOURCE else answer_N
            points.append(DomainPoints(_hidden(model, features_NF, domain), class_N))
        panels[name] = points[0], points[1]
    title = f"{domains.names[0]} to {domains.names[1]}: hidden features, principal axes"
    draw_domains(panels, domains.classes, path, title)


def draw_differences(
    path: Path,
    domains: Domains,
    config: AdaptConfig,
    before: DomainClassifier,
    after: DomainClassifier,
) -> None:
    """The target's tiles on which two classifiers differ most, at most a few of a slide.

    Nothing where their pixels cannot be had again.
    """
    one_NC, other_NC = (
        probabilities(model, Looker(model, config, is_fast=True)(domains.target, TARGET), TARGET)
        for model in (before, after)
    )
    chosen = most_apart(one_NC, other_NC, domains.target.slide_N)
    tiles = _tiles(domains, chosen)
    if not tiles:
        return
    found = [
        Disagreement(
            domains.target.slide_ids[domains.target.slide_N[number]], tile,
            one_NC[number], other_NC[number],
        )
        for number, tile in zip(chosen.tolist(), tiles, strict=True)
    ]  # fmt: skip
    title = f"{domains.names[1]}: by the source alone, and by {config.method}"
    draw_disagreements(found, domains.classes, path, title)


def most_apart(
    one_NC: NDArray[np.float64], other_NC: NDArray[np.float64], slide_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Numbers of the tiles whose answers have the greatest total variation, largest first."""
    apart_N = 0.5 * np.abs(one_NC - other_NC).sum(axis=1)
    chosen: list[int] = []
    taken: dict[int, int] = {}
    for number in np.argsort(-apart_N, kind="stable").tolist():
        slide = int(slide_N[number])
        if taken.get(slide, 0) < OF_A_SLIDE:
            chosen.append(number)
            taken[slide] = taken.get(slide, 0) + 1
        if len(chosen) == NUM_TILES:
            break
    return np.array(chosen, np.int64)


def _tiles(domains: Domains, numbers: NDArray[np.int64]) -> list[Pixels]:
    """Pixels of some of the target's tiles, read anew where features are all that was kept."""
    target = domains.target
    if target.values.ndim == 4:
        return list(np.asarray(target.read(numbers), np.uint8))
    if domains.again is None:
        return []
    slides = sorted({int(slide) for slide in target.slide_N[numbers]})
    read = {s.slide_id: s.tiles_NHW3 for s in domains.again([target.slide_ids[i] for i in slides])}
    found = []
    for number in numbers.tolist():
        slide = target.slide_N[number]
        place = number - int(np.flatnonzero(target.slide_N == slide)[0])
        found.append(read[target.slide_ids[slide]][place])
    return found


@torch.inference_mode()
def _hidden(
    model: DomainClassifier, features_NF: NDArray[np.float32], domain: int
) -> NDArray[np.float32]:
    device = model.mean_2F.device
    hidden = model.classify(torch.from_numpy(features_NF).to(device), domain).hidden_BW
    return np.asarray(hidden.cpu().numpy())
