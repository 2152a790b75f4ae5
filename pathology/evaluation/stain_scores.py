"""What is measured of one slide before and after stain normalization."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.stain.color_distance import (
    color_distance,
    color_quantiles,
    stain_angles,
    stain_matrix_of,
    tissue_lab,
    white_of,
)
from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.matrix import Floats, Matrix, Pixels
from pathology.stain.normalizer import Rendered
from pathology.stain.nuclei import NucleiChange, hematoxylin, nuclei_change
from pathology.stain.seams import SeamScore
from pathology.stain.similarity import structure_scores

NO_SEAMS = SeamScore(float("nan"), float("nan"), 0)


@dataclass(frozen=True)
class ColorProfile:
    """The colors of a set of tiles: stain matrix (2, 3) or None, glass (3,), tissue in L*a*b*.

    quantiles  of the L*a*b* colors (n, 3), from which distances are taken; None without tissue
    """

    matrix: Matrix | None
    white_level: NDArray[np.float64]
    lab: Floats
    quantiles: Floats | None


@dataclass(frozen=True, kw_only=True)
class SlideScores:
    """One row of slides.csv: a model on a slide. What could not be measured is None.

    passed_share                of the tiles that passed through unchanged
    structure_ssim, gradient    against the source, mean over tiles; see StructureScores
    h_angle, e_angle            degrees from the target's stain vectors
    color_distance              from the target's tissue, L*a*b* units
    seam_ratio, seam_offset     see SeamScore; ..._before: of the source
    nuclei_before, _after, _lost, _invented   counted in all tiles
    tiles_per_s                 rendered, without the fit to the slide
    problem                     why the slide could not be normalized; flags: what to look at
    """

    model: str
    slide_id: str
    centre: str = ""
    num_tiles: int = 0
    passed_share: float | None = None
    structure_ssim: float | None = None
    gradient: float | None = None
    h_angle_before: float | None = None
    h_angle: float | None = None
    e_angle_before: float | None = None
    e_angle: float | None = None
    color_distance_before: float | None = None
    color_distance: float | None = None
    num_borders: int = 0
    seam_ratio_before: float | None = None
    seam_ratio: float | None = None
    seam_offset_before: float | None = None
    seam_offset: float | None = None
    nuclei_before: int | None = None
    nuclei_after: int | None = None
    nuclei_lost: int | None = None
    nuclei_invented: int | None = None
    tiles_per_s: float | None = None
    problem: str = ""
    flags: str = ""

    @property
    def nuclei_ratio(self) -> float | None:
        """Nuclei after over nuclei before; None where there were none."""
        return self._share(self.nuclei_after)

    @property
    def nuclei_changed(self) -> float | None:
        """Nuclei lost or invented, whichever is more, as a share of those before."""
        if self.nuclei_lost is None or self.nuclei_invented is None:
            return None
        return self._share(max(self.nuclei_lost, self.nuclei_invented))

    def terms(self, name: str) -> tuple[float, float] | None:
        """A measure as numerator and denominator, so that slides add up; None if not known.

        Shares of nuclei are added up over nuclei, speeds over tiles, all others over slides.
        """
        value = getattr(self, name)
        if value is None:
            return None
        weight = 1.0
        if name.startswith("nuclei_"):
            weight = float(self.nuclei_before or 0)
        elif name == "tiles_per_s":
            weight = self.num_tiles / value
        return value * weight, weight

    def row(self) -> dict[str, Any]:
        """The scores as a flat row, the nuclei's ratio among them; None where not known."""
        return {**asdict(self), "nuclei_ratio": self.nuclei_ratio}

    def _share(self, num: int | None) -> float | None:
        return num / self.nuclei_before if num is not None and self.nuclei_before else None


class SlideBefore(NamedTuple):
    """The source tiles (N, H, W, 3) of a slide with what every model is held against."""

    slide_id: str
    centre: str
    tiles: Pixels
    profile: ColorProfile
    seams: SeamScore
    nucleus_px: float


class SlideAfter(NamedTuple):
    """What a model made of the slide: tiles, the seams between some of them, and how fast."""

    rendered: Rendered
    seams: SeamScore
    tiles_per_s: float | None
    problem: str = ""


def profile_of(tiles_NHW3: Pixels, config: StainConfig) -> ColorProfile:
    """The colors of a set of tiles."""
    lab = tissue_lab(tiles_NHW3, config)
    return ColorProfile(
        stain_matrix_of(tiles_NHW3, config),
        white_of(tiles_NHW3, config),
        lab,
        color_quantiles(lab),
    )


def score_slide(
    model: str,
    before: SlideBefore,
    after: SlideAfter,
    target: ColorProfile,
    config: StainEvaluationConfig,
) -> tuple[SlideScores, ColorProfile]:
    """The scores of a model on a slide, without flags, and the colors of its output."""
    tiles, is_passed = after.rendered
    profile = profile_of(tiles, config.stain)
    nuclei = _nuclei(before, tiles, profile)
    structure = np.array(
        [structure_scores(*pair) for pair in zip(before.tiles, tiles, strict=True)], np.float64
    ).reshape(-1, 2)
    h_before, e_before = stain_angles(before.profile.matrix, target.matrix)
    h_after, e_after = stain_angles(profile.matrix, target.matrix)
    scores = SlideScores(
        model=model,
        slide_id=before.slide_id,
        centre=before.centre,
        num_tiles=len(tiles),
        passed_share=_number(float(is_passed.mean())) if len(tiles) else None,
        structure_ssim=_mean(structure[:, 0]),
        gradient=_mean(structure[:, 1]),
        h_angle_before=_number(h_before),
        h_angle=_number(h_after),
        e_angle_before=_number(e_before),
        e_angle=_number(e_after),
        color_distance_before=_number(color_distance(before.profile.quantiles, target.quantiles)),
        color_distance=_number(color_distance(profile.quantiles, target.quantiles)),
        num_borders=after.seams.num_borders,
        seam_ratio_before=_number(before.seams.ratio),
        seam_ratio=_number(after.seams.ratio),
        seam_offset_before=_number(before.seams.offset_ratio),
        seam_offset=_number(after.seams.offset_ratio),
        nuclei_before=nuclei.num_before,
        nuclei_after=nuclei.num_after,
        nuclei_lost=nuclei.num_lost,
        nuclei_invented=nuclei.num_invented,
        tiles_per_s=after.tiles_per_s,
        problem=after.problem,
    )
    return scores, profile


def _nuclei(before: SlideBefore, tiles: Pixels, profile: ColorProfile) -> NucleiChange:
    """Nuclei by each side's own stain matrix; the textbook's on both, where one shows none."""
    own, other = before.profile.matrix, profile.matrix
    if own is None or other is None:
        own = other = TEXTBOOK.stains.matrix
    return nuclei_change(
        hematoxylin(before.tiles, own, before.profile.white_level),
        hematoxylin(tiles, other, profile.white_level),
        before.nucleus_px,
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return _number(float(known.mean())) if len(known) else None


def _number(value: float) -> float | None:
    return round(value, 5) if np.isfinite(value) else None
