"""The style of every tile: its own stain matrix, or its slide's where the tile is too poor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.stain.classical import is_fit, stride
from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK, MacenkoReference
from pathology.stain.matrix import Pixels
from pathology.stain.tissue import look_at

TILES_AT_ONCE = 32
MAX_ANGLE = 25.0  # degrees from the slide's vectors, beyond which a tile's own are not believed


class Styles(NamedTuple):
    """Stain matrices of tiles.

    matrix_N23  float32, unit rows H and E in optical density
    is_own_N    measured on the tile itself; else its slide's, or the textbook's
    """

    matrix_N23: NDArray[np.float32]
    is_own_N: NDArray[np.bool_]


def tile_styles(tiles_NHW3: Pixels, config: StainConfig) -> Styles:
    """The styles of tiles (N, H, W, 3) of one slide, by Macenko's method.

    A slide's own is the median of its tiles that can be measured; a tile far from it is not
    believed.
    """
    num = len(tiles_NHW3)
    found, is_good = np.zeros((num, 2, 3), np.float32), np.zeros(num, np.bool_)
    tile_config = config.model_copy(update={"per_tile": True})
    for start in range(0, num, TILES_AT_ONCE):
        block = tiles_NHW3[start : start + TILES_AT_ONCE]
        colors = block.reshape(len(block), -1, 3)
        tissue = look_at(colors[:, :: stride(colors.shape[1], tile_config)], config)
        measured = MacenkoReference.measure(tissue, config)
        rows = slice(start, start + len(block))
        found[rows] = np.asarray(measured.numbers[0], np.float32)
        is_good[rows] = np.asarray(is_fit(tissue, measured, config))
    slide = _slide_matrix(found[is_good])
    cosines = np.clip((found * slide).sum(axis=2).min(axis=1), -1, 1)
    is_own = is_good & (np.degrees(np.arccos(cosines)) <= MAX_ANGLE)
    return Styles(np.where(is_own[:, None, None], found, slide).astype(np.float32), is_own)


def is_textbook(matrix_N23: NDArray[np.floating]) -> bool:
    """Whether these styles of a slide's tiles are the textbook's: none could be measured."""
    return bool((matrix_N23 == TEXTBOOK.stains.matrix.astype(np.float32)).all())


def _slide_matrix(good_N23: NDArray[np.float32]) -> NDArray[np.float64]:
    if not len(good_N23):
        return TEXTBOOK.stains.matrix
    median = np.median(good_N23.astype(np.float64), axis=0)
    return np.asarray(median / np.linalg.norm(median, axis=1, keepdims=True), np.float64)
