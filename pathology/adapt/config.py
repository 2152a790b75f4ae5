"""Settings of carrying a classifier from labelled tiles to unlabelled ones."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pathology.adapt.methods import METHODS
from pathology.core.config import StageConfig
from pathology.data.augment import AugmentConfig
from pathology.models.encoder import OFFLINE
from pathology.models.known_encoders import EncoderName

Adversary = Literal["least-squares", "binary"]
Normalization = Literal["none", "source", "separate"]
BatchNorm = Literal["frozen", "shared", "separate", "adapted"]
ChosenBy = Literal["last", "source", "entropy", "snd", "dev"]


class TermWeights(StageConfig):
    """What a training is made of beside the cross-entropy of labelled tiles; 0: left out.

    adversary    of the judge that tells domains apart, through gradient reversal
    adversary_loss, is_conditional  its loss, and whether it sees features times probabilities
    entropy      of the entropy of the target's answers
    confusion    of minimum class confusion on the target
    confusion_by whether classes count alike in it, or by their share of the answers
    coral, mmd   of the distance of covariances, of kernel means
    consistency  with what a moving average of the network is sure of
    masked       of answers on target tiles that are hidden in part with those on whole ones; needs
                 pixels
    focal        exponent by which hard source tiles count more
    balance      0: all source tiles count alike, 1: all classes
    sharpness    radius of sharpness-aware minimization of the source's term
    is_pair      whether two heads learn side by side, each before a judge of its own
    noise        share of the source's labels thought mistaken at the start of a layer that learns
                 how they are; 0: no such layer
    diversity    of the divergence of the pair's answers, which their last layers make greater
    """

    adversary: float = Field(default=0.0, ge=0)
    adversary_loss: Adversary = "least-squares"
    is_conditional: bool = False
    entropy: float = Field(default=0.0, ge=0)
    confusion: float = Field(default=0.0, ge=0)
    confusion_by: Literal["class", "share"] = "class"
    coral: float = Field(default=0.0, ge=0)
    mmd: float = Field(default=0.0, ge=0)
    consistency: float = Field(default=0.0, ge=0)
    masked: float = Field(default=0.0, ge=0)
    focal: float = Field(default=0.0, ge=0, le=5)
    balance: float = Field(default=0.0, ge=0, le=1)
    sharpness: float = Field(default=0.0, ge=0)
    is_pair: bool = False
    noise: float = Field(default=0.0, ge=0, lt=1)
    diversity: float = Field(default=0.0, ge=0)


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
    label_confidence  least probability of a weakly taught classifier's answer that is taken for the
                   label of a tile of the source
    is_label_weighed  whether such a tile counts by that probability
    target_share   share of the target's cases, of each class one at least, whose labels the oracle
                   learns from
    size_px        edge of the tiles, in their own pixels
    tiles_per_slide  tiles of each slide or picture that are used, evenly spaced
    encoder        network before the head
    tile_px        edge that tiles are scaled to before the encoder; None: as they are
    encoder_rate   learning rate of the encoder over that of the rest; 0: frozen, and every tile
                   passes through it once
    encoder_blocks last blocks of the encoder that learn; None: all of it
    batch_norm     statistics of the normalization layers in blocks that learn: frozen (as they
                   came), shared (of source and target as one batch), separate (each domain's own),
                   adapted (the same, and the target's estimated anew from its tiles now and then,
                   and in the end; where a method learns nothing of the target, it passes through
                   them for that alone); None: adapted for adabn, else frozen
    augment        what the tiles of both domains are varied by, where pixels are trained on
    augment_scope  whether the source's also are seen as through a camera on a microscope
    augmented      times that each tile is varied, too, before training, and passes through the
                   blocks that do not learn; 0: tiles are varied anew at each step
    mask_grid, mask_share  of masked: squares along a tile's edge, and share of them that is hidden;
                   others at each step, or with augmented once for each variation
    width, dropout of the layer between features and head
    judge_width    of the judge's two hidden layers
    judge_rate     the judge's learning rate over that of the rest
    steps, batch_size  updates, and tiles of each domain in one
    ramp           share of the steps in which adversary and entropy come in
    ema_decay      of the moving average of the weights that is kept
    clip           greatest norm of the classifier's gradient, and of the judge's; 0: any
    chosen_by      which weights are kept: the last; or of ten evenly spaced steps those with the
                   least loss on the source's slides set aside (source), the least entropy of the
                   target's answers (entropy), the densest answers (snd), or the least estimated
                   loss on the target (dev). No label of the target is looked at
    """

    classes: tuple[str, ...] = ()
    class_map: dict[str, str] = Field(default_factory=dict)
    method: str = "dman+mcc"
    terms: dict[str, float | str | bool] = Field(default_factory=dict)
    normalization: Normalization | None = None
    is_prior_estimated: bool = True
    confidence: float = Field(default=0.9, gt=0, lt=1)
    label_confidence: float = Field(default=0.7, ge=0, lt=1)
    is_label_weighed: bool = False
    target_share: float = Field(default=1.0, gt=0, le=1)
    size_px: int = Field(default=224, ge=32)
    tiles_per_slide: int = Field(default=64, ge=1)
    encoder: EncoderName = OFFLINE
    tile_px: int | None = Field(default=None, ge=32)
    encoder_rate: float = Field(default=0.0, ge=0)
    encoder_blocks: int | None = Field(default=1, ge=0)
    batch_norm: BatchNorm | None = None
    augment: AugmentConfig = AugmentConfig()
    augment_scope: bool = False
    augmented: int = Field(default=0, ge=0, le=64)
    mask_grid: int = Field(default=4, ge=1)
    mask_share: float = Field(default=0.7, ge=0, lt=1)
    width: int = Field(default=256, ge=0)
    dropout: float = Field(default=0.25, ge=0, lt=1)
    judge_width: int = Field(default=256, ge=1)
    judge_rate: float = Field(default=1.0, gt=0)
    steps: int = Field(default=600, ge=1)
    batch_size: int = Field(default=64, ge=2)
    ramp: float = Field(default=0.3, ge=0, le=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    clip: float = Field(default=0.0, ge=0)
    chosen_by: ChosenBy = "last"
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    seed: int = Field(default=0, ge=0)

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        unknown = [name for name in method.split("+") if name not in METHODS]
        if unknown:
            raise ValueError(f"method {unknown[0]!r}: none of {', '.join(METHODS)}")
        return method

    @model_validator(mode="after")
    def _weights(self) -> Self:
        terms = self.term_weights()  # a term nobody knows is refused here
        if terms.masked and not self.is_pixels:
            raise ValueError("mic needs pixels: set encoder_rate, e.g. to 0.1")
        if terms.diversity and not terms.is_pair:
            raise ValueError("diversity needs two heads: set terms.is_pair=true")
        if self.augment_scope and not self.is_pixels:
            raise ValueError("augment_scope needs pixels: set encoder_rate, e.g. to 0.1")
        return self

    @model_validator(mode="after")
    def _maps(self) -> Self:
        if self.is_of_maps and not self.is_pixels:
            raise ValueError("augmented varies pixels: set encoder_rate, e.g. to 1")
        if self.is_of_maps and self.encoder_blocks is None:
            raise ValueError("augmented needs blocks that do not learn: set encoder_blocks")
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

    def layers_normalized_by(self) -> BatchNorm:
        """How the encoder's layers that learn normalize: as set, or else as the method does."""
        if self.batch_norm is not None:
            return self.batch_norm
        return "adapted" if "adabn" in self.method.split("+") else "frozen"

    @property
    def is_pixels(self) -> bool:
        """Whether training sees pixels, the encoder with the rest, and not features."""
        return self.encoder_rate > 0

    @property
    def is_of_maps(self) -> bool:
        """Whether what learns of the encoder is given the maps of tiles that were varied before."""
        return self.augmented > 0

    @property
    def is_target_seen(self) -> bool:
        """Whether unlabelled tiles of the target are part of a step."""
        terms = self.term_weights()
        names = (
            "adversary", "entropy", "confusion", "coral", "mmd", "consistency", "masked",
            "diversity",
        )  # fmt: skip
        has_statistics = self.is_pixels and self.layers_normalized_by() == "separate"
        return has_statistics or any(getattr(terms, name) for name in names)

    @property
    def is_supervised(self) -> bool:
        """Whether labels of the target are learned from: the oracle."""
        return "target" in self.method.split("+")
