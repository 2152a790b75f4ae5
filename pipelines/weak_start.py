"""What a training starts from: its encoder, and the weights of another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pathology.core.errors import ConfigError
from pathology.models.card import ModelCard, TileContract, load_classifier, require_match
from pathology.models.encoder import Encoder, make_encoder
from pathology.weak.config import WeakConfig
from pathology.weak.network import BagClassifier
from pipelines.encoding import weights_digest


def encoder_that_learns(
    tiles: TileContract, config: WeakConfig, weights: Path | None, *, is_pixels: bool
) -> Encoder | None:
    """The encoder of pixels, or of maps that were kept for its last blocks; of features none.

    tiles    what training is given
    weights  file of the encoder's; None: those that come with it
    """
    if tiles.blocks_left:
        encoder = encoder_of_maps(tiles, config, weights)
    elif is_pixels:
        encoder = make_encoder(config.encoder, weights=weights)
        encoder.learn_last(config.encoder_blocks if config.encoder_rate else 0)
    else:
        return None
    if config.batch_norm == "frozen":
        encoder.keep_statistics()
    return encoder.to(memory_format=torch.channels_last)  # faster on a CPU


def contract_of(
    tiles: TileContract, config: WeakConfig, encoder: Encoder | None, *, is_pixels: bool
) -> TileContract:
    """What a model is to be given; by its maps, a model of their last blocks knows them.

    encoder  as it is now; None: the tiles came as features
    """
    if encoder is None or not is_pixels:
        return tiles
    return tiles.model_copy(
        update={
            "encoder": encoder.name,
            "weights": weights_digest(encoder),
            "encoder_px": config.tile_px,
            "num_features": encoder.num_features,
        }
    )


def encoder_of_maps(tiles: TileContract, config: WeakConfig, weights: Path | None) -> Encoder:
    """The encoder whose first part made maps, ready for its last blocks to learn.

    Raises ConfigError where it is asked for other blocks, ContractError for other weights.
    """
    if config.encoder_blocks not in (None, tiles.blocks_left):
        raise ConfigError(
            f"the features leave the encoder's last {tiles.blocks_left} blocks to learn, and "
            f"encoder_blocks is {config.encoder_blocks}: leave that out, or make others with "
            f"'pathology features --blocks-left {config.encoder_blocks}'"
        )
    encoder = make_encoder(tiles.encoder, weights=weights)
    found = tiles.model_copy(update={"weights": weights_digest(encoder)})
    require_match(tiles, found, f"encoder {encoder.name}")
    encoder.learn_last(tiles.blocks_left)
    encoder.map_shape = tiles.map_shape
    return encoder


def start_from(model: BagClassifier, path: Path, grades: Sequence[str]) -> ModelCard:
    """Give a new classifier the weights of a model's file; returns its card.

    A head that was learned on features goes before the very encoder that made them: a network
    that is first taught its head and then as a whole keeps more of what it knew (Kumar et al.,
    ICLR 2022). Raises ConfigError where grades, encoder or head are others.
    """
    card, weights = load_classifier(path)
    if tuple(card.grades) != tuple(grades):
        raise ConfigError(
            f"{path}: it grades {', '.join(card.grades)}, not {', '.join(grades)}. Start from a "
            "model of the same grades in the same order"
        )
    if isinstance(model.encoder, Encoder) and card.tiles.encoder not in ("", model.encoder.name):
        raise ConfigError(
            f"{path}: its encoder is {card.tiles.encoder}. Set encoder={card.tiles.encoder}, or "
            "start without it"
        )
    problem = model.take(weights, has_encoder=card.has_encoder and model.encoder is not None)
    if problem:
        raise ConfigError(
            f"{path}: its network, of method {card.method}, is another one ({problem}). Start from "
            "a model of a like method and width"
        )
    return card
