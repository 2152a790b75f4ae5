"""Settings of `pathology features`, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from pathology.core.config import StageConfig
from pathology.data.augment import AugmentConfig
from pathology.models.encoder import OFFLINE
from pathology.models.known_encoders import EncoderName


class FeatureConfig(StageConfig):
    """Settings of `pathology features`.

    encoder    a name of timm's or TRIDENT's
    size_px    edge that tiles are scaled to first; None: as they are stored
    precision  32 or bf16
    augmented  times that each tile is varied, too, for training; see augment
    blocks_left  last blocks of the encoder that a training is to teach; what they would take is
               kept in place of features
    """

    encoder: EncoderName = OFFLINE
    size_px: int | None = Field(default=None, ge=32, le=2048)
    precision: Literal["32", "bf16"] = "32"
    augmented: int = Field(default=0, ge=0, le=64)
    blocks_left: int = Field(default=0, ge=0)
    augment: AugmentConfig = AugmentConfig()


@dataclass(frozen=True)
class FeatureOptions:
    """How features are made; nothing here changes them.

    weights    a file of the encoder's
    block      tiles at once; None: what suits the device
    scheduler  address of a dask.distributed scheduler whose workers encode, a slide at a time
    """

    device: str = "cpu"
    weights: Path | None = None
    block: int | None = None
    threads: int = 2
    scheduler: str | None = None
