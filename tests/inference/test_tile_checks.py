"""Glass, blur, ink and the lamp's color on fields whose content is known."""

import cv2
import numpy as np
import pytest

from pathology.inference.glass import GlassSeen, glass_in
from pathology.inference.tile_checks import check_tiles, thumbnail_of, without_cast
from tests.inference.conftest import EDGE, MPP, scene

CORNERS = np.array([[0, 0], [64, 0], [0, 64], [64, 64]], np.int64)
LAMP = np.array([1.0, 0.93, 0.8])


def field() -> np.ndarray:
    """Tissue; at the upper right glass, at the lower left out of focus, at the lower right ink."""
    made = scene(2 * EDGE, 2 * EDGE)
    made[:EDGE, EDGE:] = np.random.default_rng(0).normal(243, 1.5, (EDGE, EDGE, 3)).astype(np.uint8)
    made[EDGE:, :EDGE] = cv2.GaussianBlur(made, (0, 0), 5)[EDGE:, :EDGE]
    made[EDGE:, EDGE:] = (20, 60, 190)
    return made


def states(pixels: np.ndarray, glass: tuple[float, float, float] | None = None) -> list[str]:
    return check_tiles(pixels, thumbnail_of(pixels, MPP), CORNERS, EDGE, MPP, None, glass)


def test_each_tile_is_what_it_is() -> None:
    assert states(field()) == ["waiting", "glass", "blurred", "ink"]


def test_a_yellow_lamp_makes_glass_look_stained_unless_its_color_is_known() -> None:
    yellow = (field() * LAMP).astype(np.uint8)
    assert states(yellow)[1] == "blurred"
    found = glass_in(yellow)
    assert found is not None and found == pytest.approx(tuple(243 * LAMP), abs=3)
    assert states(yellow, found)[:3] == ["waiting", "glass", "blurred"]


def test_glass_is_remembered_and_tissue_is_none() -> None:
    seen = GlassSeen()
    seen.look(scene(200, 200))
    assert seen.color is None
    seen.look(np.full((60, 60, 3), (240, 230, 200), np.uint8))
    seen.look(np.full((60, 60, 3), (200, 190, 180), np.uint8))
    assert seen.color == (240, 230, 200)


def test_the_cast_is_taken_out() -> None:
    glass = np.full((4, 4, 3), (240, 220, 180), np.uint8)
    assert without_cast(glass, (240, 220, 180))[0, 0].tolist() == [240, 240, 240]
