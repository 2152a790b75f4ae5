"""The color of empty glass, seen by the way: the lamp's color, which cameras seldom balance."""

from __future__ import annotations

import numpy as np

from pathology.inference.tile_checks import Color
from pathology.slides.reader import Pixels

BLOCK_PX = 6
MOST_TEXTURE = 3.0  # grey levels of deviation within a block of glass
LEAST_BRIGHT = 140.0  # in its darkest channel
MOST_TINT = 0.35
LEAST_SHARE = 0.01  # of the blocks
KEPT = 0.999  # of the brightest so far, a frame: lamps are turned down


def glass_in(thumbnail: Pixels) -> Color | None:
    """Color of the brightest flat parts of a thumbnail (H, W, 3); None: there are none.

    Tissue is neither flat nor that bright; the gaps in it are both.
    """
    rows, columns = (side // BLOCK_PX for side in thumbnail.shape[:2])
    if not rows or not columns:
        return None
    cut = thumbnail[: rows * BLOCK_PX, : columns * BLOCK_PX].astype(np.float32)
    blocks = cut.reshape(rows, BLOCK_PX, columns, BLOCK_PX, 3)
    mean = blocks.mean(axis=(1, 3)).reshape(-1, 3)
    texture = blocks.std(axis=(1, 3)).max(axis=-1).ravel()
    lowest, highest = mean.min(axis=1), mean.max(axis=1)
    is_glass = (texture < MOST_TEXTURE) & (lowest > LEAST_BRIGHT)
    is_glass &= lowest > (1 - MOST_TINT) * highest
    if is_glass.mean() < LEAST_SHARE:
        return None
    brightest = lowest >= np.quantile(lowest[is_glass], 0.75)
    red, green, blue = np.median(mean[is_glass & brightest], axis=0).tolist()
    return red, green, blue


class GlassSeen:
    """The brightest glass of a stream so far."""

    def __init__(self) -> None:
        self.color: Color | None = None
        self._brightness = 0.0

    def look(self, thumbnail: Pixels) -> None:
        """Look for glass in a small picture of a field."""
        found = glass_in(thumbnail)
        self._brightness *= KEPT
        if found is not None and sum(found) > self._brightness:
            self.color, self._brightness = found, sum(found)
