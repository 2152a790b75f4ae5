"""What shapes the weights of a training, as fingerprints: none goes on from another's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pathology.core.artifact import content_digest, fingerprint
from pathology.core.config import StageConfig
from pathology.models.card import SCHEMA
from pathology.models.encoder import Encoder
from pathology.weak.config import WeakConfig
from pipelines.encoding import weights_digest
from pipelines.tile_truth import truth_digest
from pipelines.weak_inputs import TiledSlide


def training_data(
    slides: Sequence[TiledSlide], num_train: int, truth_root: Path | None = None
) -> str:
    """Fingerprint of the slides that train and of those that choose: their tiles and labels.

    slides      in the order in which their tiles are numbered; those that train stand first
    truth_root  where the maps of grades lie, for a method that tiles' own grades teach
    """
    rows = [[slide.record.slide_id, slide.digest, slide.record.label] for slide in slides]
    train, val = rows[:num_train], rows[num_train:]
    if truth_root is not None:
        maps = [truth_digest(slide.record, truth_root) for slide in slides[:num_train]]
        train = [[*row, one] for row, one in zip(train, maps, strict=True)]
    inputs = {"train": json.dumps(train), "val": json.dumps(val)}
    return fingerprint("training data", SCHEMA, StageConfig(), inputs)


def recipe_of(
    config: WeakConfig,
    data: str,
    num_features: int,
    encoder: Encoder | None = None,
    start: Path | None = None,
) -> str:
    """Fingerprint of all that shapes the weights.

    data     see training_data
    encoder  as it came
    start    the model whose weights training starts from
    """
    inputs = {"data": data, "features": str(num_features)}
    if encoder is not None:
        inputs["encoder"] = weights_digest(encoder)
    if start is not None:
        inputs["start"] = content_digest(start)
    return fingerprint("weak training", SCHEMA, config, inputs)
