"""What is seen of a field's tiles before any network looks at them: glass, ink, blur."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.inference.field_grade import TileState
from pathology.inference.field_grid import Corners
from pathology.inference.taught_limits import TaughtLimits, contrast
from pathology.slides.reader import Pixels, scale_to
from pathology.tiling.config import QualityConfig, TissueConfig
from pathology.tiling.quality import judging_px, look_at, quality_scores, verdict
from pathology.tiling.tissue import tissue_mask

SPECK_SHARE = 0.1  # of a tile's area
Color = tuple[float, float, float]


def thumbnail_of(field: Pixels, mpp: float) -> Pixels:
    """A field (H, W, 3) at mpp as small as tissue is looked for on it."""
    return scale_to(field, small_size(field, mpp, TissueConfig().mpp))


def small_size(field: Pixels, mpp: float, small_mpp: float) -> tuple[int, int]:
    """(width, height) of a field (H, W, 3) at mpp, at another."""
    height, width = field.shape[:2]
    return max(2, round(width * mpp / small_mpp)), max(2, round(height * mpp / small_mpp))


def check_tiles(
    field: Pixels,
    thumbnail: Pixels,
    xy: Corners,
    tile_px: int,
    mpp: float,
    limits: TaughtLimits | None,
    glass: Color | None = None,
) -> list[TileState]:
    """What speaks against grading each tile of a field (H, W, 3) at mpp; "waiting": nothing.

    thumbnail  of the field; see thumbnail_of
    limits  what the model's own tiles were like; None: the limits of tiling
    glass   color of empty glass under this lamp, where it is known
    """
    tissue, quality = tissue_config(tile_px * mpp), QualityConfig()
    balanced = thumbnail if glass is None else without_cast(thumbnail, glass)
    mask = tissue_mask(balanced, tissue.mpp, tissue)
    judged_px = judging_px(tile_px, mpp, quality)
    least_sharp = quality.min_sharpness if limits is None else limits.min_sharpness
    states: list[TileState] = []
    for x, y in xy.tolist():
        look = look_at(field[y : y + tile_px, x : x + tile_px])
        scores = quality_scores(look, judged_px, quality)
        said = verdict(scores, quality)
        share = share_under(mask, (x, y), tile_px * mpp, mpp, tissue)
        if share < tissue.min_tissue_fraction or said == "white":
            states.append("glass")
        elif said in ("black", "pen"):
            states.append("black" if said == "black" else "ink")
        elif scores.sharpness >= least_sharp:
            states.append("waiting")
        elif limits is not None and contrast(look.grey, mpp) < limits.min_contrast:
            states.append("glass")  # nothing there that could be sharp
        else:
            states.append("blurred")
    return states


def tissue_config(tile_um: float) -> TissueConfig:
    """How tissue is found under a camera, whose whole field may be smaller than a speck is on a
    slide: specks and holes are measured against a tile. Ink is judged tile by tile.
    """
    small = SPECK_SHARE * tile_um**2
    return TissueConfig(min_object_um2=small, max_hole_um2=small, exclude_pen=False)


def share_under(
    mask: NDArray[np.bool_], xy: tuple[int, int], size_um: float, mpp: float, config: TissueConfig
) -> float:
    """Share of tissue in a tile at xy, pixels of mpp, by a mask at the config's mpp."""
    x, y = (round(at * mpp / config.mpp) for at in xy)
    edge = max(1, round(size_um / config.mpp))
    part = mask[y : y + edge, x : x + edge]
    return float(part.mean()) if part.size else 0.0


def without_cast(pixels: Pixels, glass: Color) -> Pixels:
    """Pixels with the color of the lamp taken out: what was glass is grey, as bright as before."""
    factor = max(glass) / np.maximum(np.asarray(glass), 1)
    table = np.clip(np.rint(np.arange(256)[:, None] * factor), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), np.uint8)
