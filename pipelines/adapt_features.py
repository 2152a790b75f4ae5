"""Domains of an adaptation that come as features: encoded before, and by whom they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.manifest import SlideRecord
from pathology.interop.h5_features import read_features
from pathology.models.card import ContractError, TileContract, differences
from pipelines.adapt_inputs import DomainTiles, Roll, Say
from pipelines.flat_pictures import evenly
from pipelines.input_kinds import TileInput, look_at
from pipelines.tile_labels import TileLabels, without_corners
from pipelines.weak_inputs import (
    TiledSlide,
    is_features,
    read_tiled,
    require_alike,
    without_tiles,
)

ALIKE = "Make the features of both sides alike"


@dataclass(frozen=True)
class FeatureInput:
    """A folder of features: its slides, what cannot be used, and what all of them are of."""

    path: Path
    members: tuple[TiledSlide, ...]
    problems: tuple[str, ...]
    tiles: TileContract
    slides: tuple[SlideRecord, ...] = ()  # that come with labels: none

    @property
    def num_members(self) -> int:
        """Slides, those that cannot be used among them."""
        return len(self.members) + len(self.problems)


Given = TileInput | FeatureInput


def look_at_domain(path: Path) -> Given:
    """Tell what a path is: features, or anything that holds tiles; see look_at.

    Raises ArtifactError where no features can be used, ContractError where slides differ in kind.
    """
    if not is_features(path):
        return look_at(path)
    kind, members, problems = read_tiled(path)
    problems += without_tiles(path, kind)
    if not members:
        raise ArtifactError(f"{path}: no features to learn from ({'; '.join(problems[:3])})")
    tiles = require_alike(members)
    if tiles.blocks_left:
        raise ConfigError(
            f"{path}: its features leave blocks of the encoder to learn, which train weak does. "
            "Give the tiles, or features of the whole encoder"
        )
    return FeatureInput(path, tuple(members), tuple(problems), tiles)


def given_tiles(
    source: Given, target: Given, config: AdaptConfig, mpp: float | None
) -> TileContract | None:
    """What the features of either side are of; None where neither has any.

    mpp  that the source is to be cut at
    Raises ContractError where they differ, ConfigError where they cannot be used as asked.
    """
    sides = [side for side in (source, target) if isinstance(side, FeatureInput)]
    if not sides:
        return None
    first = sides[0]
    if config.is_pixels:
        raise ConfigError(
            f"{first.path}: an encoder learns from tiles, and these are features. Set "
            "encoder_rate=0, or give the tiles"
        )
    if len(sides) == 2:
        wrong = differences(*(side.tiles for side in sides))
        if wrong:
            raise ContractError(
                f"{target.path} is not as {source.path}: {'; '.join(wrong)}. {ALIKE}"
            )
    elif not (first.tiles.encoder and first.tiles.size_px):
        raise ContractError(
            f"{first.path}: its features do not say by which encoder, or of what size tiles they "
            "are, and the other side has to be encoded as they were. Give features of both"
        )
    wrong = (
        [] if mpp is None else differences(first.tiles.model_copy(update={"mpp": mpp}), first.tiles)
    )
    if wrong:
        raise ConfigError(f"--mpp {mpp:g}: {first.path}: {wrong[0]}. Leave it out")
    return first.tiles


def settings_of(config: AdaptConfig, tiles: TileContract | None) -> AdaptConfig:
    """The settings, with those that features have settled before."""
    if tiles is None:
        return config
    settled = {
        "encoder": tiles.encoder or config.encoder,
        "size_px": tiles.size_px or config.size_px,
        "tile_px": tiles.encoder_px,
    }
    return config.model_copy(update=settled)


def read_feature_domain(
    given: FeatureInput,
    class_of: Mapping[str, int],
    config: AdaptConfig,
    *,
    is_labelled: bool,
    tile_labels: TileLabels | None = None,
    say: Say,
    on_slide: Callable[[], None] = lambda: None,
) -> DomainTiles:
    """Features of every slide, of tiles_per_slide tiles each; see read_domain."""
    roll = Roll(given.path, class_of, is_labelled=is_labelled, say=say)
    found = []
    for line in given.problems:
        on_slide()
        slide_id, _, problem = line.partition(": ")
        roll.is_taken(slide_id, 0, problem)
    for slide in given.members:
        on_slide()
        rows = evenly(slide.num_tiles, config.tiles_per_slide)
        if roll.is_taken(slide.record.slide_id, len(rows)):
            features = read_features(slide.path)
            if tile_labels is not None:
                if features.l0_xy is None:
                    raise without_corners(slide.record.slide_id)
                told = tile_labels.at(slide.record.slide_id, features.l0_xy[rows])
                rows = rows[roll.label(slide.record.slide_id, told)]
            found.append(features.features_NF[rows])
    roll.close()
    return roll.domain(np.concatenate(found), given.tiles.mpp, given.tiles.stain)
