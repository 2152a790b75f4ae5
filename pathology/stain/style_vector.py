"""A stain style as the eight numbers that networks are told of a slide or a tile.

They are the stain matrix (2, 3) row by row, unit vectors of optical density, hematoxylin first, and
how strong each stain gets (2). Optical density is counted from 255 here: glass is on few tiles, and
pale tissue that is taken for it would spoil a style.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK, estimate_stains
from pathology.stain.matrix import Pixels
from pathology.stain.stains import Stains

NUM_MATRIX, NUM_STYLE = 6, 8
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


def mean_vector(vectors_N8: StyleVectors) -> StyleVector:
    """The style amid others, with unit vectors of its own."""
    mean = np.asarray(vectors_N8, np.float64).mean(axis=0)
    matrix = mean[:NUM_MATRIX].reshape(2, 3)
    mean[:NUM_MATRIX] = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).ravel()
    return np.asarray(mean, np.float32)
