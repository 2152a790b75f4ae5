"""A trained classifier of any kind, ready for use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError
from pathology.models.card import ModelCard, card_fingerprint, load_classifier, require_match
from pathology.models.encode import prepare
from pathology.models.encoder import Encoder, make_encoder
from pathology.weak.config import BY_TILE, WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pathology.weak.pooling import PooledPeers, PooledTiles
from pathology.weak.slide_rule import SlideRule
from pipelines.features import weights_digest


@dataclass(frozen=True)
class Classifier:
    """A model that is ready: its card, its network on a device, and the rule for slides."""

    card: ModelCard
    model: BagClassifier
    rule: SlideRule | None
    fingerprint: str
    device: str
    is_of_maps: bool = False

    @property
    def has_own_answer(self) -> bool:
        """Whether its method was taught to answer for slides, and not for tiles alone."""
        return self.card.task == "weak" and self.card.method not in BY_TILE


def load_for_use(
    path: Path,
    device: str = "cpu",
    weights: Path | None = None,
    *,
    is_pixels: bool = True,
    is_of_maps: bool = False,
) -> Classifier:
    """A classifier from its file.

    weights     a file of the encoder's, where it is not in the model's
    is_pixels   whether it will be given pixels; without, the encoder is not needed
    is_of_maps  whether it will be given maps that were kept for its encoder's last blocks
    Raises ArtifactError for a file that is damaged, ConfigError where the encoder cannot be had.
    """
    card, state = load_classifier(path)
    encoder: Encoder | None = None
    is_of_maps = is_of_maps and card.has_encoder and card.tiles.blocks_left > 0
    if is_pixels or is_of_maps:
        encoder = make_encoder(
            card.tiles.encoder, weights=weights, is_pretrained=not card.has_encoder
        )
    model = BagClassifier(_head_of(card), encoder)
    problem = model.take(state, has_encoder=card.has_encoder and encoder is not None)
    if problem:
        raise ArtifactError(f"{path}: its weights are of another architecture ({problem})")
    if encoder is not None and is_of_maps:
        encoder.learn_last(card.tiles.blocks_left)
        encoder.map_shape = card.tiles.map_shape
    elif encoder is not None:
        model.encoder = prepare(encoder, device)
        if not card.has_encoder and card.tiles.weights:
            found = card.tiles.model_copy(update={"weights": weights_digest(encoder)})
            require_match(card.tiles, found, f"encoder {encoder.name}")
    rule = None if card.slide_rule is None else SlideRule.model_validate(card.slide_rule)
    name = card_fingerprint(card, state)
    ready = model.to(device).eval().requires_grad_(False)
    return Classifier(card, ready, rule, name, device, is_of_maps)


def _head_of(card: ModelCard) -> nn.Module:
    """A new network of a card's kind; slides of an adapted one are the mean of their tiles."""
    num_features = card.tiles.num_features
    if card.task == "adapt":
        config, num_grades = AdaptConfig.model_validate(card.settings), len(card.grades)
        if config.term_weights().is_pair:
            return PooledPeers(num_features, num_grades, config.width, 0.0)
        return PooledTiles(num_features, num_grades, width=config.width, dropout=0, pooling="mean")
    return bag_network(WeakConfig.model_validate(card.settings), num_features)
