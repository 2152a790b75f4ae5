"""Settings of training tile classifiers from slide labels."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pathology.core.config import StageConfig
from pathology.data.augment import AugmentConfig
from pathology.models.encoder import OFFLINE
from pathology.models.known_encoders import EncoderName
from pathology.weak.rectify import Ramp

Method = Literal[
    "rce-ut", "rce", "ut", "ce", "forward", "mean", "max", "topk", "em", "abmil", "clam-sb",
    "clam-mb", "dsmil", "transmil", "oracle",
]  # fmt: skip
BY_TILE = (
    "rce-ut",
    "rce",
    "ut",
    "ce",
    "forward",
    "em",
    "oracle",
)  # whose loss looks at tiles alone
OF_SLIDES = tuple(method for method in BY_TILE if method != "oracle")  # which their slides teach
LEAST_EPOCH = 1024  # tiles, however few there are: some steps are needed
USUAL_EPOCH = 4096
EPOCH_SHARE = 0.625  # of the tiles that train, where that is more
MOST_PIXELS = 32_768  # tiles of an epoch that reads pixels
RECTIFIED = ("rce-ut", "rce", "em")  # whose tiles count by what was thought of them
WARMED = (*RECTIFIED, "forward")  # which first take all tiles for their slide's grade


class RectifyConfig(StageConfig):
    """How much the tiles of a slide count for its grade; see rectify.

    low, up     shares of a slide's tiles that are left out, and that count fully: one number for
                all grades, or one for each; the lowest grade's do not matter
    ramp        how weights rise between the two
    score_rate  share of a new score in a tile's running score; 1: no running score
    """

    low: tuple[float, ...] = (0.5,)
    up: tuple[float, ...] = (0.1,)
    ramp: Ramp = "score"
    score_rate: float = Field(default=0.2, gt=0, le=1)


class UpperConfig(StageConfig):
    """The punishment of grades above the slide's: its weight, and mass or class by class."""

    weight: float = Field(default=1.0, ge=0)
    form: Literal["mass", "class"] = "mass"


class WeakConfig(StageConfig):
    """Settings of `pathology train weak`.

    grades           benign first, most malignant last: the order is the method's own knowledge;
                     empty: by the usual order of the labels' names
    method           see the user guide
    encoder          of pixels; features know theirs
    tile_px          edge that tiles are scaled to before the encoder; None: as they are
    width, dropout   of the layer between features and head; width 0: none
    is_ordinal       a head that asks "beyond this grade?" grade by grade; for methods by tile
    share            of forward: share of a slide's tiles that are of its grade, one number for all
                     grades or one for each; the lowest grade's does not matter
    topk             share of a slide's tiles by which topk, and tile methods, grade a slide
    slide_weight     of a method by tile: how much its slides' grades by topk count in the loss, too
    epoch_tiles      tiles that make an epoch; None: by how many there are, see for_tiles
    slides_per_step, tiles_per_slide  a step's batch: slides of all grades alike, and tiles of each
    warmup_epochs    in which every tile counts fully for its slide's grade
    patience         epochs without a better validation after which training ends
    encoder_rate     learning rate of the encoder over that of the rest; 0: frozen
    encoder_blocks   last blocks of the encoder that learn; None: all of it
    batch_norm       statistics of the normalization layers in blocks that learn: frozen (as they
                     came) or batch (each batch's own, and in use their running mean)
    """

    grades: tuple[str, ...] = ()
    method: Method = "rce-ut"
    rectify: RectifyConfig = RectifyConfig()
    upper: UpperConfig = UpperConfig()
    augment: AugmentConfig = AugmentConfig()
    encoder: EncoderName = OFFLINE
    tile_px: int | None = Field(default=None, ge=32)
    width: int = Field(default=256, ge=0)
    dropout: float = Field(default=0.25, ge=0, lt=1)
    is_ordinal: bool = False
    share: tuple[float, ...] = (0.15,)
    topk: float = Field(default=0.1, gt=0, le=1)
    slide_weight: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=30, ge=1)
    epoch_tiles: int | None = Field(default=None, ge=1)
    slides_per_step: int = Field(default=6, ge=1)
    tiles_per_slide: int = Field(default=32, ge=1)
    warmup_epochs: int = Field(default=1, ge=0)
    patience: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    encoder_rate: float = Field(default=0.1, ge=0)
    encoder_blocks: int | None = Field(default=None, ge=0)
    batch_norm: Literal["frozen", "batch"] = "frozen"
    weight_decay: float = Field(default=1e-4, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.grades)) != len(self.grades):
            raise ValueError(f"grades {', '.join(self.grades)}: one stands twice")
        if len(self.grades) == 1:
            raise ValueError(f"grades {self.grades[0]}: at least 2 are needed")
        if self.is_ordinal and self.method not in (*BY_TILE, "mean", "max", "topk"):
            raise ValueError(f"is_ordinal does not go with method {self.method}")
        if self.slide_weight and self.method not in OF_SLIDES:
            raise ValueError(f"slide_weight does not go with method {self.method}")
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        """By grade, and within their bounds; of no share nothing is learned."""
        said = {"rectify.low": self.rectify.low, "rectify.up": self.rectify.up, "share": self.share}
        for name, shares in said.items():
            if self.grades and len(shares) not in (1, len(self.grades)):
                raise ValueError(f"{name} has {len(shares)} numbers for {len(self.grades)} grades")
            if not all(0 <= share <= 1 for share in shares):
                raise ValueError(f"{name}: shares lie between 0 and 1")
        if not all(self.share[1:] or self.share):
            raise ValueError("share: some of a slide's tiles are of its grade: set more than 0")
        return self

    def by_grade(self, shares: tuple[float, ...]) -> tuple[float, ...]:
        """A number for every grade."""
        return shares * len(self.grades) if len(shares) == 1 else shares

    @property
    def steps_per_epoch(self) -> int:
        """Updates that make an epoch."""
        tiles = self.epoch_tiles or USUAL_EPOCH
        return max(1, round(tiles / (self.slides_per_step * self.tiles_per_slide)))

    def for_tiles(self, num: int, *, is_pixels: bool) -> Self:
        """The settings with an epoch's tiles, where so many are there to train on.

        Unless they are said, thirty epochs pass over all tiles nineteen times, as where the other
        settings were chosen; less often over very many pixels, each of which takes long. No epoch
        has more than there are: passing often over few tiles learns them by heart.
        """
        share = min(round(EPOCH_SHARE * num), MOST_PIXELS if is_pixels else num)
        wanted = self.epoch_tiles or max(USUAL_EPOCH, share)
        return self.model_copy(update={"epoch_tiles": min(wanted, max(num, LEAST_EPOCH))})
