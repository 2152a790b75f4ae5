"""A stain style as the eight numbers that networks are told of a slide or a tile.

They are the stain matrix (2, 3) row by row, unit vectors of optical density, hematoxylin first, and
how strong each stain gets (2). Optical density is counted from 255 here: glass is on few tiles, and
pale tissue that is taken for it would spoil a style.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK, estimate_stains
from pathology.stain.matrix import Pixels
from pathology.stain.stains import Stains

NUM_MATRIX, NUM_STYLE = 6, 8
LEAST_SPREAD = 1e-4  # variance of the logarithm of strengths; less than this is no variance
TOLD = StainConfig(white_level=255.0)  # how styles are measured, whatever else is asked for

StyleVector = NDArray[np.float32]  # (8,)
StyleVectors = NDArray[np.float32]  # (N, 8)


def style_vector(stains: Stains) -> StyleVector:
    """The style of what was measured of a slide."""
    parts = [stains.matrix.ravel(), stains.max_concentrations]
    return np.concatenate(parts).astype(np.float32)


def slide_vector(tiles_NHW3: Pixels) -> StyleVector:
    """The style of a slide of which tiles are shown; the textbook's where there is none to see."""
    return style_vector(estimate_stains(tiles_NHW3, TOLD).stains or TEXTBOOK.stains)


def tile_vectors(matrix_N23: NDArray[np.float32], slide: StyleVector) -> StyleVectors:
    """The styles of a slide's tiles: their own matrices, and the slide's strengths."""
    rest = np.broadcast_to(slide[NUM_MATRIX:], (len(matrix_N23), NUM_STYLE - NUM_MATRIX))
    vectors = np.concatenate([matrix_N23.reshape(-1, NUM_MATRIX), rest], axis=1)
    return np.asarray(vectors, np.float32)


class Home(NamedTuple):
    """Where styles come from and where they go to.

    target   mean style of the target's slides; sources of the sources'
    kept     how much of a slide's deviation in strength from the other sources stays its own
    """

    target: StyleVector
    sources: StyleVector
    kept: float


def home_of(target_N8: StyleVectors, source_N8: StyleVectors) -> Home:
    """The home of the slides of both sides.

    A slide may be stained strongly because its laboratory stains so, which is to be undone, or
    because its tissue takes up more, which is not. The target's slides, of one laboratory, vary by
    tissue alone: kept is the part of that variance in the variance of both sides together, so one
    half where the sources vary as the target does and less where they vary more.
    """
    spread = [
        float(np.log(side[:, NUM_MATRIX:]).var(axis=0).mean()) for side in (target_N8, source_N8)
    ]
    kept = spread[0] / (sum(spread) + LEAST_SPREAD)
    return Home(mean_vector(target_N8), mean_vector(source_N8), kept)


def mean_vector(vectors_N8: StyleVectors) -> StyleVector:
    """The style amid others, with unit vectors of its own."""
    mean = np.asarray(vectors_N8, np.float64).mean(axis=0)
    matrix = mean[:NUM_MATRIX].reshape(2, 3)
    mean[:NUM_MATRIX] = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).ravel()
    return np.asarray(mean, np.float32)
