"""The style of a tile: its own where it can be measured, else its slide's."""

import numpy as np
import pytest

from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.matrix import angle_between
from pathology.stain.styles import tile_styles
from tests.stain.synthetic import MATRIX, he_tiles

CONFIG = StainConfig()


def test_tiles_have_the_style_they_were_made_with() -> None:
    styles = tile_styles(he_tiles(6, 128), CONFIG)
    assert styles.is_own_N.all()
    assert styles.matrix_N23.shape == (6, 2, 3)
    for matrix in styles.matrix_N23:
        assert angle_between(matrix[0], MATRIX[0]) < 3
        assert angle_between(matrix[1], MATRIX[1]) < 3
        assert np.linalg.norm(matrix, axis=1) == pytest.approx([1, 1], abs=1e-4)


def test_poor_tiles_take_their_slides() -> None:
    tiles = he_tiles(6, 128)
    tiles[1] = 243  # glass
    tiles[4] = (120, 118, 121)  # grey
    styles = tile_styles(tiles, CONFIG)
    assert styles.is_own_N.tolist() == [True, False, True, True, False, True]
    assert (styles.matrix_N23[1] == styles.matrix_N23[4]).all()
    assert angle_between(styles.matrix_N23[1, 0], MATRIX[0]) < 3


def test_an_odd_tile_is_not_believed() -> None:
    odd = np.array([[0.1, 0.2, 0.97], [0.9, 0.1, 0.2]])
    odd /= np.linalg.norm(odd, axis=1, keepdims=True)
    tiles = np.concatenate([he_tiles(7, 128), he_tiles(1, 128, matrix=odd)])
    styles = tile_styles(tiles, CONFIG)
    assert styles.is_own_N.tolist() == [True] * 7 + [False]


def test_a_slide_without_stain_has_the_textbooks() -> None:
    styles = tile_styles(np.full((2, 64, 64, 3), 243, np.uint8), CONFIG)
    assert not styles.is_own_N.any()
    assert styles.matrix_N23[0] == pytest.approx(np.float32(TEXTBOOK.stains.matrix))
    assert tile_styles(np.zeros((0, 64, 64, 3), np.uint8), CONFIG).matrix_N23.shape == (0, 2, 3)
