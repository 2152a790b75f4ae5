"""Pictures of an adaptation: both domains, before and after, and where answers changed most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pathology.adapt.network import SOURCE, TARGET, DomainClassifier
from pathology.evaluation.domain_plots import (
    Disagreement,
    DomainPoints,
    draw_disagreements,
    draw_domains,
)
from pathology.slides.reader import Pixels
from pipelines.adapt_domains import Domains
from pipelines.adapt_scores import Seen

SHOWN = 500  # tiles of each domain in a chart
NUM_TILES, OF_A_SLIDE = 16, 2  # that are shown where answers differ most


def draw_embedding(path: Path, domains: Domains, method: str, before: Seen, after: Seen) -> None:
    """What two classifiers see before their last layer, of some tiles of both domains."""
    source, target = domains.train, domains.target
    one, other = source.some(SHOWN), target.some(SHOWN)
    panels = {}
    for name, seen in (("the source alone", before), (method, after)):
        source_NF = _hidden(seen.model, seen.look(source, SOURCE, one), SOURCE)
        target_NF = _hidden(seen.model, seen.target_NF[other], TARGET)
        panels[name] = (
            DomainPoints(source_NF, source.label_N[one]),
            DomainPoints(target_NF, seen.answers_NC[other].argmax(axis=1)),
        )
    title = f"{domains.names[0]} to {domains.names[1]}: hidden features, principal axes"
    draw_domains(panels, domains.classes, path, title)


def draw_differences(path: Path, domains: Domains, method: str, before: Seen, after: Seen) -> None:
    """The target's tiles on which two classifiers differ most, at most a few of a slide.

    Nothing where their pixels cannot be had again.
    """
    slide_N = domains.target.slide_N
    chosen = most_apart(before.answers_NC, after.answers_NC, slide_N)
    tiles = _tiles(domains, chosen)
    if not tiles:
        return
    found = [
        Disagreement(
            domains.target.slide_ids[slide_N[number]], tile,
            before.answers_NC[number], after.answers_NC[number],
        )
        for number, tile in zip(chosen.tolist(), tiles, strict=True)
    ]  # fmt: skip
    title = f"{domains.names[1]}: by the source alone, and by {method}"
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
