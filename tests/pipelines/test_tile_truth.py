"""What is true of tiles, by the map of grades beside a slide."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.errors import SlideError
from pathology.core.manifest import SlideRecord
from pipelines.tile_truth import truth_digest, truth_of_tiles

GRADES = ("healthy", "adenoma", "carcinoma")


def record(name: str = "map.png", label: str = "") -> SlideRecord:
    return SlideRecord("s", Path("s.svs"), label=label, extra={"truth_path": name})


@pytest.mark.parametrize(
    ("label", "grades", "edge", "size", "name", "said"),
    [
        ("", GRADES, 24, (1600, 1600), "map.png", ""),
        ("carcinoma", GRADES, 24, (1600, 1600), "map.png", ""),
        ("adenoma", GRADES, 24, (1600, 1600), "map.png", "shows carcinoma, its label says adenoma"),
        ("", GRADES[:2], 24, (1600, 1600), "map.png", r"the value 3, and there are 2 grades \(h"),
        ("", GRADES, 24, (0, 0), "map.png", "nothing says how large the slide and its tiles are"),
        ("", GRADES, 0, (1600, 1600), "map.png", "nothing says how large the slide and its tiles"),
        ("", GRADES, 24, (1600, 800), "map.png", "another shape than the slide's 1600x800"),
        ("", GRADES, 24, (1600, 1600), "lost.png", "no map of grades can be read"),
        ("", GRADES, 24, (1600, 1600), "torn.png", "no map of grades can be read"),
    ],
)
def test_maps_that_do_not_belong_are_refused(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    label: str,
    grades: tuple[str, ...],
    edge: int,
    size: tuple[int, int],
    name: str,
    said: str,
) -> None:
    cv2.imwrite(str(tmp_path / "map.png"), np.full((100, 100), 3, np.uint8))
    (tmp_path / "torn.png").write_bytes(b"no picture")
    asked = record(name, label), np.array([[0, 0]]), edge, size, tmp_path, grades
    if said:
        with pytest.raises(SlideError, match=said):
            truth_of_tiles(*asked)
    else:
        assert truth_of_tiles(*asked).tolist() == [2]
    assert capfd.readouterr().err == ""  # OpenCV has nothing to add


def test_neighbors_share_no_pixel_of_the_map(tmp_path: Path) -> None:
    """Tiles of 24 level-0 px on a map of a sixteenth: a pixel is of the tile with its centre."""
    grades = np.full((100, 100), 2, np.uint8)
    grades[:, :2] = 1
    cv2.imwrite(str(tmp_path / "map.png"), grades)
    corners = np.array([[0, 0], [24, 0], [1599, 1599]])  # of the last not half a pixel is left
    found = truth_of_tiles(record(), corners, 24, (1600, 1600), tmp_path, GRADES)
    assert found.tolist() == [0, 1, -1]


def test_a_map_that_changed_has_another_digest(tmp_path: Path) -> None:
    assert truth_digest(SlideRecord("s", Path("s.svs")), tmp_path) == ""
    assert truth_digest(record(), tmp_path) == "missing"
    found = set()
    for value in (0, 1):
        cv2.imwrite(str(tmp_path / "map.png"), np.full((9, 9), value, np.uint8))
        found.add(truth_digest(record(), tmp_path))
    assert len(found - {"", "missing"}) == 2
