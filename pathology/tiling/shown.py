"""Whether tiles show anything, and whether in colours: a look before a network learns from them."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Shown = Literal["nothing", "grey", "colors"]
EDGE_PX = 16  # that a tile is averaged to: noise goes, tissue stays
LEAST_CONTRAST = 6.0  # grey levels between the darkest and the brightest, beside uneven light
LEAST_COLOR = 0.1  # of the contrast, between the channels; H&E has 0.4 and more, be it dim
ROUNDING = 1.5  # grey levels by which equal channels may differ


def shown_by(tiles_NHW3: NDArray[np.uint8]) -> Shown:
    """What the tiles (N, H, W, 3) of one picture or slide show: the most that any of them does.

    nothing  all are of one brightness and colour, but for noise and uneven light: glass
    grey     there is something, and in none of them do the three channels differ
    """
    looks = {"nothing"}
    for tile in tiles_NHW3:
        looks.add(_shown_by(tile))
        if "colors" in looks:
            return "colors"
    return "grey" if "grey" in looks else "nothing"


def _shown_by(tile_HW3: NDArray[np.uint8]) -> Shown:
    small = cv2.resize(tile_HW3, (EDGE_PX, EDGE_PX), interpolation=cv2.INTER_AREA)
    colors_P3 = small.reshape(-1, 3).astype(np.float64)
    low_3, high_3 = np.percentile(colors_P3 - LIGHT_PP @ colors_P3, [1, 99], axis=0)
    contrast = float((high_3 - low_3).max())
    if contrast < LEAST_CONTRAST:
        return "nothing"
    apart = float((colors_P3.max(axis=1) - colors_P3.min(axis=1)).max())
    return "grey" if apart <= max(ROUNDING, LEAST_COLOR * contrast) else "colors"


def _uneven_light() -> NDArray[np.float64]:
    """(P, P), from a picture's P pixels to the light that fits them: a slope, and vignetting."""
    y, x = np.mgrid[-1 : 1 : EDGE_PX * 1j, -1 : 1 : EDGE_PX * 1j]
    radius2 = x * x + y * y
    shapes = (np.ones_like(x), x, y, x * x, x * y, y * y, radius2 * x, radius2 * y, radius2**2)
    base_PK = np.stack(shapes, axis=-1).reshape(EDGE_PX**2, -1)
    return np.asarray(base_PK @ np.linalg.pinv(base_PK))


LIGHT_PP = _uneven_light()
