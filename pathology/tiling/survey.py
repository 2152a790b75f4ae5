"""A first look at a slide: its resolution, the plan, its tissue and the tiles that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import SlideError
from pathology.core.geometry import TileSpec
from pathology.core.manifest import SlideRecord
from pathology.slides.plan import Pair, Plane, ReadPlan, plan_tiles
from pathology.slides.reader import Pixels, SlideFacts, SlideReader, read_thumbnail
from pathology.slides.resolution import Spacing
from pathology.tiling.config import GivenTiles, TilingConfig, TissueConfig
from pathology.tiling.grid import Corners, tile_grid, tissue_fractions
from pathology.tiling.masks import read_mask
from pathology.tiling.tissue import Mask, tissue_mask

EXACT = 1e-4  # of given tiles: what another tool has rounded


@dataclass(frozen=True)
class Survey:
    """What is known of a slide before its tiles are read.

    l0_xy      corners (N, 2) of the tiles with enough tissue; fractions (N,) of tissue in each
    num_grid   tiles of the whole grid
    """

    facts: SlideFacts
    spacing: Spacing
    plan: ReadPlan
    l0_slide: Pair
    thumbnail: Pixels
    mask: Mask
    num_grid: int
    l0_xy: Corners
    fractions: NDArray[np.float32]

    @property
    def tissue_area_mm2(self) -> float:
        """Area of the mask in square millimetres."""
        width, height = (
            size * mpp for size, mpp in zip(self.l0_slide, self.spacing.mpp, strict=True)
        )
        return float(self.mask.mean()) * width * height / 1e6

    @property
    def l0_offset(self) -> Pair:
        """Corner of the scanned bounds, which QuPath counts from."""
        return self.facts.l0_bounds[:2] if self.facts.l0_bounds else (0, 0)

    def fractions_at(self, l0_xy: Corners) -> NDArray[np.float32]:
        """Tissue fraction (n,) of some of the survey's own corners (n, 2)."""
        known = {corner: i for i, corner in enumerate(map(tuple, self.l0_xy.tolist()))}
        rows = [known[corner] for corner in map(tuple, l0_xy.tolist())]
        return self.fractions[rows] if rows else self.fractions[:0]

    def slide_facts(self) -> dict[str, Any]:
        """The slide as a store's attributes describe it."""
        return {
            "l0_size": list(self.l0_slide),
            "mpp": list(self.spacing.mpp),
            "mpp_source": self.spacing.source,
            "vendor": self.facts.vendor,
            "l0_bounds": list(self.facts.l0_bounds) if self.facts.l0_bounds else None,
            "properties": self.facts.properties,
        }

    def plan_facts(self) -> dict[str, Any]:
        """The plan as a store's attributes describe it."""
        plan = self.plan
        return {
            "sentence": plan.sentence(),
            "level": plan.plane.level,
            "reduction": plan.plane.reduction,
            "read_px": list(plan.read_px),
            "l0_tile_size": list(plan.l0_size),
            "l0_stride": list(plan.l0_stride),
            "achieved_mpp": [round(mpp, 6) for mpp in plan.achieved_mpp],
        }


def survey_slide(
    slide: SlideReader,
    record: SlideRecord,
    config: TilingConfig,
    spacing: Spacing,
    given: GivenTiles | None = None,
) -> Survey:
    """Decide on a plan, find the tissue, lay the grid. Raises SlideError.

    spacing  the slide's microns per pixel, from decide_spacing
    given    tiles to take as they are, instead of a grid over the tissue
    """
    l0_slide, spec = slide.levels[0].size, config.tile
    if given is not None:
        _require_same_slide(record.slide_id, given, l0_slide)
        spec = spec_of_given(spec, given, spacing.mpp)
    plan = plan_tiles(record.slide_id, slide.levels, slide.max_reduction, spacing.mpp, spec)
    thumbnail = read_thumbnail(slide, spacing.mpp, config.tissue.mpp)
    mask = _mask(record, slide.facts, l0_slide, thumbnail, config.tissue)
    if given is None:
        l0_origin, l0_end = _scanned_area(slide.facts, l0_slide, plan.plane)
        grid = tile_grid(l0_end, plan.l0_size, plan.l0_stride, l0_origin)
    else:
        grid = _inside(record.slide_id, given, l0_slide)
    fractions = tissue_fractions(mask, grid, plan.l0_size, l0_slide)
    is_taken = (fractions >= config.tissue.min_tissue_fraction) & (fractions > 0)
    is_taken |= given is not None
    return Survey(
        facts=slide.facts,
        spacing=spacing,
        plan=plan,
        l0_slide=l0_slide,
        thumbnail=thumbnail,
        mask=mask,
        num_grid=len(grid),
        l0_xy=grid[is_taken],
        fractions=fractions[is_taken],
    )


def spec_of_given(spec: TileSpec, given: GivenTiles, mpp: tuple[float, float]) -> TileSpec:
    """The settings with the size and resolution that given tiles have on this slide."""
    size_px = given.size_px or spec.size_px
    tile_mpp = given.l0_tile_size[0] * mpp[0] / size_px
    return spec.model_copy(
        update={"size_px": size_px, "mpp": tile_mpp, "stride_px": None, "mpp_tolerance": EXACT}
    )


def _require_same_slide(slide_id: str, given: GivenTiles, l0_slide: Pair) -> None:
    if given.l0_slide not in (None, l0_slide):
        width, height = given.l0_slide
        raise SlideError(
            slide_id,
            f"the given tiles were chosen on a slide of {width}x{height} level-0 px, this one has "
            f"{l0_slide[0]}x{l0_slide[1]}",
            "Check that the coordinates belong to this slide, or choose them again on this file",
        )


def _inside(slide_id: str, given: GivenTiles, l0_slide: Pair) -> Corners:
    """The given corners, once it is clear that their tiles lie on the slide."""
    if len(given.l0_xy) and (
        (given.l0_xy < 0).any() or (given.l0_xy + given.l0_tile_size > l0_slide).any()
    ):
        raise SlideError(
            slide_id,
            f"some of the given tiles lie outside the slide ({l0_slide[0]}x{l0_slide[1]})",
            "Check that the coordinates belong to this slide and count level-0 pixels",
        )
    return given.l0_xy


def _mask(
    record: SlideRecord, facts: SlideFacts, l0_slide: Pair, thumbnail: Pixels, config: TissueConfig
) -> Mask:
    """The user's mask where there is one; a microscope image is all tissue; else what is found."""
    size = (thumbnail.shape[1], thumbnail.shape[0])
    if record.mask_path is not None:
        offset = facts.l0_bounds[:2] if facts.l0_bounds else (0, 0)
        return read_mask(record.mask_path, record.slide_id, l0_slide, size, offset)
    if record.domain == "microscope":
        return np.ones(thumbnail.shape[:2], np.bool_)
    return tissue_mask(thumbnail, config.mpp, config)


def _scanned_area(facts: SlideFacts, l0_slide: Pair, plane: Plane) -> tuple[Pair, Pair]:
    """Where the grid begins and the tiles must end, in level-0 pixels on whole plane pixels."""
    if facts.l0_bounds is None:
        return (0, 0), l0_slide
    x, y, width, height = facts.l0_bounds
    step = plane.step
    origin = (round(-(-x // step[0]) * step[0]), round(-(-y // step[1]) * step[1]))
    return origin, (min(l0_slide[0], x + width), min(l0_slide[1], y + height))
