"""The encoder of an adaptation: as it is before training, and what it makes of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pathology.adapt.config import AdaptConfig
from pathology.adapt.masking import draw_shown, masked
from pathology.core.errors import ConfigError
from pathology.data.augment import augment
from pathology.data.scope import seen_by_camera
from pathology.models.card import TileContract, require_match
from pathology.models.encode import FirstPart, prepare
from pathology.models.encoder import Encoder, make_encoder
from pipelines.adapt_start import Start
from pipelines.adapt_tiles import FeatureSink, FileSink, MapSink, TileSink, Vary
from pipelines.features import weights_digest


@dataclass(frozen=True, eq=False)
class Encoding:
    """An encoder, or None where both sides come as features, and what the features are of.

    tiles  without the resolution and the stain, where an encoder makes the features
    """

    encoder: Encoder | None
    tiles: TileContract

    def sinks(self, config: AdaptConfig, device: str, folder: Path) -> tuple[TileSink, TileSink]:
        """Where the tiles of source and target go."""
        paths = folder / "source.npy", folder / "target.npy"
        if config.is_of_maps and self.encoder is not None:
            ways = variations_of(config)
            hidings = None, hiding_of(config, self.encoder)
            first = FirstPart(self.encoder, config.encoder_blocks or 0, device)
            one, other = (
                MapSink(
                    path, first, device, config.tile_px, config.augmented, vary,
                    (config.seed, domain), hide=hide,
                )
                for domain, (path, vary, hide) in enumerate(zip(paths, ways, hidings, strict=True))
            )  # fmt: skip
            return one, other
        if config.is_pixels or self.encoder is None:  # into features no tile goes
            return FileSink(paths[0]), FileSink(paths[1])
        ready = prepare(self.encoder, device)
        return (
            FeatureSink(ready, device, config.tile_px),
            FeatureSink(ready, device, config.tile_px),
        )


def variations_of(config: AdaptConfig) -> tuple[Vary, Vary]:
    """How tiles of source and target are varied; the source's, if asked, as a camera sees them."""

    def target(images: Tensor, random: np.random.Generator) -> Tensor:
        return augment(images, random, config.augment)

    def source(images: Tensor, random: np.random.Generator) -> Tensor:
        return seen_by_camera(target(images, random), random)

    return source if config.augment_scope else target, target


def hiding_of(config: AdaptConfig, encoder: Encoder | None) -> Vary | None:
    """How squares of the target's tiles are hidden; None where nothing is learned of that."""
    if not config.term_weights().masked or encoder is None:
        return None

    def hide(images: Tensor, random: np.random.Generator) -> Tensor:
        shown = draw_shown(random, len(images), config.mask_grid, config.mask_share)
        return masked(images, shown, encoder.mean)

    return hide


def encoding_of(
    config: AdaptConfig,
    classes: Sequence[str],
    start: Start | None,
    made: TileContract | None,
    weights: Path | None,
    *,
    is_needed: bool,
) -> Encoding:
    """The encoder with the weights of a file, of the model to start from, or its own.

    made       what the features of either side are of
    is_needed  whether there are tiles to encode
    Raises ConfigError or ContractError where encoder, start and features are not of one kind.
    """
    if start is not None:
        start.require_classes(classes)
    if not is_needed and made is not None:
        if start is not None:
            _require_like(start, made)
        return Encoding(None, made)
    has_encoder = start is not None and start.card.has_encoder
    encoder = make_encoder(config.encoder, weights=weights, is_pretrained=not has_encoder).eval()
    if start is not None:
        start.give_encoder(encoder)
    tiles = TileContract(
        size_px=config.size_px,
        encoder=encoder.name,
        weights=weights_digest(encoder),
        encoder_px=config.tile_px,
        num_features=encoder.num_features,
    )
    if made is not None:
        known = {"mpp": None, "stain": tiles.stain}  # compared where tiles have been read
        require_match(made.model_copy(update=known), tiles, "the side of tiles")
    return Encoding(encoder, tiles)


def _require_like(start: Start, made: TileContract) -> None:
    """Raise ConfigError or ContractError unless a model knows such features."""
    if start.card.has_encoder:
        raise ConfigError(
            f"{start.path}: it has an encoder of its own, and these are features of another. Give "
            "the tiles"
        )
    require_match(start.card.tiles, made, str(start.path))
