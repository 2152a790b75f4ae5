"""How much labelled tiles count: by their slides in the manifest, and by how sure a label is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pathology.adapt.prior import mean_one
from pathology.core.errors import ConfigError
from pathology.core.manifest import DECIMAL_COMMA, SlideRecord
from pipelines.adapt_inputs import DomainTiles, Say

COLUMN = "weight"  # of a manifest


def weights_of(records: Mapping[str, SlideRecord]) -> dict[str, float]:
    """Weights of the slides that have a label, by id; 1 where the manifest says nothing.

    Raises ConfigError for what is no positive number.
    """
    return {slide_id: weight_of(record) for slide_id, record in records.items() if record.label}


def weight_of(record: SlideRecord) -> float:
    """Weight of one slide; see weights_of."""
    cells = (cell for name, cell in record.extra.items() if name.strip().lower() == COLUMN)
    said = next(cells, "")
    try:
        found = float(said.replace(",", ".") if DECIMAL_COMMA.fullmatch(said) else said or 1)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise ConfigError(
            f"{record.slide_id}: its {COLUMN} in the manifest is {said!r}. Give a positive number, "
            "or nothing for 1; a slide without a label is left out"
        )
    return found


def weighed(train: DomainTiles, weight_of_slide: Mapping[str, float], say: Say) -> DomainTiles:
    """The tiles that are trained on, with weights of mean 1; with none where all count alike.

    train  with what its tiles count by themselves, if they do
    """
    weight_S = np.array([weight_of_slide[name] for name in train.slide_ids], np.float64)
    weight_N = weight_S[train.slide_N] * (1.0 if train.weight_N is None else train.weight_N)
    if (weight_N == weight_N[0]).all():
        return replace(train, weight_N=None)
    weight_N = mean_one(weight_N)
    low, high = weight_N.min(), weight_N.max()
    say(f"tiles of the source count from {low:.2g} to {high:.2g} times as much as their mean")
    return replace(train, weight_N=weight_N)
