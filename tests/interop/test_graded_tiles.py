"""Grades of tiles as QuPath reads them, and as a picture that lies on the slide."""

import json
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from shapely.geometry import shape

from pathology.core.errors import SlideError
from pathology.interop.graded_tiles import (
    GREEN,
    RED,
    YELLOW,
    GradedTiles,
    export_regions,
    export_tiles,
    severity_color,
)
from pathology.interop.heatmap_tiff import PX_PER_TILE, export_heatmap, paint

EDGE = 100
GRADES = ("healthy", "adenoma", "carcinoma")
GRADE_N = [0, 2, 2, 0, 1, 2]


def slide(**changes: object) -> GradedTiles:
    """Two rows of three tiles: carcinoma at (1, 0), (2, 0) and (2, 1), adenoma at (1, 1)."""
    l0_xy = np.array([[50 + x * EDGE, 20 + y * EDGE] for y in range(2) for x in range(3)])
    values: dict[str, object] = {
        "slide_id": "s1", "grades": GRADES, "probability_NC": 0.9 * np.eye(3)[GRADE_N] + 0.1 / 3,
        "l0_xy": l0_xy, "l0_edge": EDGE, "l0_size": (400, 240), "mpp": 0.5, "grade": "carcinoma",
    }  # fmt: skip
    return GradedTiles(**(values | changes))  # type: ignore[arg-type]


def test_tiles_have_a_class_a_color_and_probabilities(tmp_path: Path) -> None:
    data = json.loads(export_tiles(slide(l0_offset=(50, 20)), tmp_path / "t.geojson").read_text())
    assert data["properties"]["note"] == "research use only"
    first, second = data["features"][:2]
    assert shape(first["geometry"]).bounds == (0, 0, EDGE, EDGE)  # QuPath's corner subtracted
    assert second["properties"]["classification"] == {"name": "carcinoma", "color": list(RED)}
    assert second["properties"]["measurements"]["prob_carcinoma"] == pytest.approx(0.9333, abs=1e-4)
    assert len({feature["id"] for feature in data["features"]}) == 6


def test_neighbors_of_one_grade_are_one_region(tmp_path: Path) -> None:
    data = json.loads(export_regions(slide(), tmp_path / "r.geojson").read_text())
    adenoma, carcinoma = data["features"]  # what is healthy is not outlined
    assert shape(carcinoma["geometry"]).area == 3 * EDGE**2
    assert shape(adenoma["geometry"]).bounds == (150, 120, 250, 220)
    assert carcinoma["properties"]["objectType"] == "annotation"
    assert carcinoma["properties"]["measurements"]["tiles"] == 3
    assert carcinoma["properties"]["measurements"]["mean probability"] == pytest.approx(0.9333)


def test_tiles_that_do_not_touch_are_regions_of_their_own(tmp_path: Path) -> None:
    apart = slide(probability_NC=np.eye(3)[[2, 0, 2, 0, 0, 0]])
    data = json.loads(export_regions(apart, tmp_path / "r.geojson").read_text())
    assert [f["properties"]["name"] for f in data["features"]] == ["carcinoma 1", "carcinoma 2"]
    healthy = slide(probability_NC=np.eye(3)[[0] * 6])
    data = json.loads(export_regions(healthy, tmp_path / "h.geojson").read_text())
    assert data["features"] == []


def test_severity_is_painted_where_the_tiles_lie() -> None:
    pixels = paint(slide(probability_NC=np.eye(3)[GRADE_N]), step=10)
    assert pixels.shape == (24, 40, 3)
    assert (pixels[0, 0] == 255).all()  # glass
    assert tuple(pixels[5, 8]) == GREEN
    assert tuple(pixels[5, 18]) == RED
    assert tuple(pixels[15, 18]) == YELLOW
    assert severity_color(1.0) == RED


def test_the_heatmap_lies_on_the_slide(tmp_path: Path) -> None:
    """Its physical size is the slide's, in OpenSlide and in OME's metadata."""
    path = export_heatmap(slide(l0_size=(40_000, 24_000), l0_edge=400), tmp_path / "h.ome.tiff")
    with openslide.OpenSlide(path) as opened:
        mpp = float(opened.properties["openslide.mpp-x"])
        assert opened.dimensions[0] * mpp == pytest.approx(40_000 * 0.5, rel=0.001)
        assert opened.level_count > 1
        corner = np.array(opened.read_region((0, 0), 0, (8, 8)).convert("RGB"), np.int64)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        assert "Research use only" in tiff.ome_metadata
    at = 50 / (400 / PX_PER_TILE)  # the first tile begins at level-0 x 50
    assert np.abs(corner[3, int(at) + 3] - GREEN).max() < 40  # 0.93 healthy, and JPEG
    with pytest.raises(SlideError, match="microns per pixel are not in the predictions"):
        export_heatmap(slide(mpp=None), tmp_path / "n.ome.tiff")
    assert not (tmp_path / "n.ome.tiff").exists()
