"""What is true of tiles, by the map of grades beside a slide."""

from pathlib import Path

import cv2
import numpy as np

from pathology.core.manifest import SlideRecord
from pipelines.tile_truth import truth_digest, truth_of_tiles


def record(name: str = "map.png") -> SlideRecord:
    return SlideRecord("s", Path("s.svs"), extra={"truth_path": name})


def test_neighbors_share_no_pixel_of_the_map(tmp_path: Path) -> None:
    """Tiles of 24 level-0 px on a map of a sixteenth: a pixel is of the tile with its centre."""
    grades = np.full((100, 100), 2, np.uint8)
    grades[:, :2] = 1
    cv2.imwrite(str(tmp_path / "map.png"), grades)
    corners = np.array([[0, 0], [24, 0], [1599, 1599]])  # of the last not half a pixel is left
    found = truth_of_tiles(record(), corners, 24, (1600, 1600), tmp_path)
    assert found.tolist() == [0, 1, -1]


def test_a_map_that_changed_has_another_digest(tmp_path: Path) -> None:
    assert truth_digest(SlideRecord("s", Path("s.svs")), tmp_path) == ""
    assert truth_digest(record(), tmp_path) == "missing"
    found = set()
    for value in (0, 1):
        cv2.imwrite(str(tmp_path / "map.png"), np.full((9, 9), value, np.uint8))
        found.add(truth_digest(record(), tmp_path))
    assert len(found - {"", "missing"}) == 2
