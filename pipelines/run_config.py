"""Settings of a whole run, and where its parts lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pathology.adapt.config import AdaptConfig
from pathology.core.config import StageConfig
from pathology.core.geometry import MAX_MPP, MIN_MPP
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.tiling.config import TilingConfig
from pathology.weak.config import WeakConfig
from pipelines.features import FeatureConfig


class MicroscopeImages(StageConfig):
    """Pictures of a camera on a microscope, to adapt to.

    images  a folder of them, or a manifest; what it marks test is predicted and judged alone, and
            labels, if there are any, are only judged by
    mpp     microns per pixel of pictures that state none; auto: guessed by their looks
    compare methods that stand beside adapt's where pictures have labels to judge by: source is the
            floor, target (taught by the labels of pictures that are not marked test) the ceiling
    """

    images: str
    mpp: Annotated[float, Field(ge=MIN_MPP, le=MAX_MPP)] | Literal["auto"] | None = None
    compare: tuple[str, ...] = ("source", "target")


class RunConfig(StageConfig):
    """Settings of a whole run. Relative paths start at the folder of the settings file.

    manifest    CSV, Parquet or a folder of slides; labels are needed from weak on
    out         folder of the run: tiles, then everything made of them, and report.html
    data_root   where relative slide paths start; default: where the manifest lies
    assume_mpp  for slides that state none
    stain       settings of stain normalization; null: none, which grades better where the slides
                that teach come from many centres (decision 22)
    stain_model a file of `pathology stain fit` or `train`; null: the method's textbook style
    stain_target a centre of the slides, whose style is taken for all: by the method of stain, or as
                the next setting says; null: see stain_model
    stain_train settings of a CycleGAN that learns that style from the other centres; null: none
    features    the encoder that tiles pass through
    encoder_weights  a file of its weights; null: they are fetched
    weak        settings of the tile classifier, or null for none
    microscope  pictures to carry it to, or null for none
    adapt       how
    """

    manifest: str
    out: str = Field(min_length=1)
    data_root: str | None = None
    assume_mpp: float | None = Field(default=None, ge=MIN_MPP, le=MAX_MPP)
    tile: TilingConfig = TilingConfig()
    stain: StainConfig | None = None
    stain_model: str | None = None
    stain_target: str | None = None
    stain_train: CycleConfig | None = None
    features: FeatureConfig = FeatureConfig()
    encoder_weights: str | None = None
    weak: WeakConfig | None = WeakConfig()
    microscope: MicroscopeImages | None = None
    adapt: AdaptConfig = AdaptConfig()


@dataclass(frozen=True)
class RunFolder:
    """Where the parts of a run lie."""

    out: Path

    @property
    def record(self) -> Path:
        """By what each stage was last made."""
        return self.out / "stages.json"

    def style(self, *, is_learned: bool) -> Path:
        """The style that is taken from a centre."""
        return self.out / ("style.pt" if is_learned else "style.json")

    @property
    def stained(self) -> Path:
        """The normalized copy of the tiles."""
        return self.out / "stain"

    @property
    def features(self) -> Path:
        """A file of features a slide."""
        return self.out / "features"

    @property
    def weak(self) -> Path:
        """The tile classifier that slides taught."""
        return self.out / "grades.pt"

    @property
    def predictions(self) -> Path:
        """Of the slides."""
        return self.out / "predictions.csv"

    @property
    def maps(self) -> Path:
        """A picture of the grades of each slide."""
        return self.out / "maps"

    @property
    def evaluation(self) -> Path:
        """How good the predictions are."""
        return self.out / "evaluation"

    @property
    def microscope(self) -> Path:
        """All that belongs to the microscope."""
        return self.out / "microscope"

    def adapted(self, method: str) -> Path:
        """A classifier for the microscope: by the run's method, its floor or its ceiling."""
        return self.microscope / f"{method}.pt"

    def scope_predictions(self, method: str) -> Path:
        """Its predictions of the microscope's pictures."""
        return self.microscope / f"{method}.csv"

    def scope_evaluation(self, method: str) -> Path:
        """How good those are."""
        return self.microscope / f"evaluation_{method}"

    @property
    def report(self) -> Path:
        """The page on all of it."""
        return self.out / "report.html"
