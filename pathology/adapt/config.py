"""Settings of carrying a classifier from labelled tiles to unlabelled ones."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pathology.adapt.methods import METHODS
from pathology.core.config import StageConfig
from pathology.models.encoder import OFFLINE

Adversary = Literal["least-squares", "binary"]
Normalization = Literal["none", "source", "separate"]


class TermWeights(StageConfig):
    """What a training is made of beside the cross-entropy of labelled tiles; 0: left out.

    adversary    of the judge that tells domains apart, through gradient reversal
    adversary_loss, is_conditional  its loss, and whether it sees features times probabilities
    entropy      of the entropy of the target's answers
    confusion    of minimum class confusion on the target
    coral, mmd   of the distance of covariances, of kernel means
    consistency  with what a moving average of the network is sure of
    focal        exponent by which hard source tiles count more
    balance      0: all source tiles count alike, 1: all classes
    sharpness    radius of sharpness-aware minimization of the source's term
    """

    adversary: float = Field(default=0.0, ge=0)
    adversary_loss: Adversary = "least-squares"
    is_conditional: bool = False
    entropy: float = Field(default=0.0, ge=0)
    confusion: float = Field(default=0.0, ge=0)
    coral: float = Field(default=0.0, ge=0)
    mmd: float = Field(default=0.0, ge=0)
    consistency: float = Field(default=0.0, ge=0)
    focal: float = Field(default=0.0, ge=0, le=5)
    balance: float = Field(default=0.0, ge=0, le=1)
    sharpness: float = Field(default=0.0, ge=0)


class AdaptConfig(StageConfig):
    """Settings of `pathology train adapt`.

    classes        benign first; empty: by the usual order of the labels' names
    class_map      what source and target call a class -> its name among the classes
    method         one of METHODS, or several that add up, as in dman+mcc
    terms          weights that take the place of the method's own
    normalization  of features by a domain's own mean and deviation: separate (each by its own),
                   source (both by the source's), none
    is_prior_estimated  whether the source counts as if its classes occurred as often as they are
                   thought to in the target
    confidence     least probability of a teacher's answer that is learned from
    size_px        edge of the tiles, in their own pixels
    tiles_per_slide  tiles of each slide or picture that are used, evenly spaced
    encoder        network before the head
    tile_px        edge that tiles are scaled to before the encoder; None: as they are
    width, dropout of the layer between features and head
    judge_width    of the judge's two hidden layers
    steps, batch_size  updates, and tiles of each domain in one
    ramp           share of the steps in which adversary and entropy come in
    ema_decay      of the moving average of the weights that is kept
    """

    classes: tuple[str, ...] = ()
    class_map: dict[str, str] = Field(default_factory=dict)
    method: str = "dman"
    terms: dict[str, float | str | bool] = Field(default_factory=dict)
    normalization: Normalization | None = None
    is_prior_estimated: bool = True
    confidence: float = Field(default=0.9, gt=0, lt=1)
    size_px: int = Field(default=224, ge=32)
    tiles_per_slide: int = Field(default=64, ge=1)
    encoder: str = OFFLINE
    tile_px: int | None = Field(default=None, ge=32)
    width: int = Field(default=256, ge=0)
    dropout: float = Field(default=0.25, ge=0, lt=1)
    judge_width: int = Field(default=256, ge=1)
    steps: int = Field(default=600, ge=1)
    batch_size: int = Field(default=64, ge=2)
    ramp: float = Field(default=0.3, ge=0, le=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    seed: int = 0

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        unknown = [name for name in method.split("+") if name not in METHODS]
        if unknown:
            raise ValueError(f"method {unknown[0]!r}: none of {', '.join(METHODS)}")
        return method

    @model_validator(mode="after")
    def _weights(self) -> Self:
        self.term_weights()  # a term nobody knows is refused here
        return self

    def term_weights(self) -> TermWeights:
        """The weights of the method, or of the sum of methods, and what was set beside them."""
        found: dict[str, float | str | bool] = {}
        for name in self.method.split("+"):
            found |= METHODS[name].terms
        return TermWeights.model_validate(found | self.terms)

    def normalized_by(self) -> Normalization:
        """How features are normalized: as set, or else as the method does."""
        if self.normalization is not None:
            return self.normalization
        ways = [METHODS[name].normalization for name in self.method.split("+")]
        return "separate" if "separate" in ways else "source"

    @property
    def is_supervised(self) -> bool:
        """Whether labels of the target are learned from: the oracle."""
        return "target" in self.method.split("+")
