"""Masks out to QuPath and back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import Point, shape

from pathology.core.errors import SlideError
from pathology.tiling.masks import _is_excluded, mask_digest, mask_to_geojson, read_mask

SLIDE, SIZE = (3200, 2400), (320, 240)


def ring_mask() -> NDArray[np.bool_]:
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    cv2.circle(mask, (100, 100), 60, 1, -1)
    cv2.circle(mask, (100, 100), 25, 0, -1)
    cv2.rectangle(mask, (220, 150), (300, 220), 1, -1)
    return mask.astype(np.bool_)


def saved(tmp_path: Path, data: object, name: str = "mask.geojson") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_shapes_are_valid_and_lie_in_level_0() -> None:
    collection = mask_to_geojson(ring_mask(), SLIDE)
    ring, square = sorted(
        (shape(f["geometry"]) for f in collection["features"]), key=lambda s: -s.area
    )
    assert ring.is_valid
    assert square.is_valid
    assert not ring.contains(Point(1000, 1000))
    assert ring.contains(Point(1000, 600))
    assert square.contains(Point(2600, 1800))
    assert ring.area == pytest.approx(np.pi * (600**2 - 250**2), rel=0.06)


@pytest.mark.parametrize("offset", [(0, 0), (400, 700)])
def test_a_mask_survives_the_way_out_and_back(tmp_path: Path, offset: tuple[int, int]) -> None:
    collection = mask_to_geojson(ring_mask(), SLIDE, offset)
    path = saved(tmp_path, collection)
    assert (read_mask(path, "s", SLIDE, SIZE, offset) == ring_mask()).all()


def test_specks_and_stairs_survive_it_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mask = cv2.blur(random.random((SIZE[1], SIZE[0])), (5, 5)) > 0.5
    path = saved(tmp_path, mask_to_geojson(mask, SLIDE))
    assert (read_mask(path, "s", SLIDE, SIZE) == mask).all()


def test_a_rectangle_covers_the_pixels_whose_centres_it_holds(tmp_path: Path) -> None:
    def square(low: float, high: float) -> list[list[float]]:
        return [[low, low], [high, low], [high, high], [low, high], [low, low]]

    area = {"type": "Polygon", "coordinates": [square(100, 200), square(130, 170)]}
    mask = read_mask(saved(tmp_path, area), "s", SLIDE, SIZE)
    wanted = np.zeros_like(mask)
    wanted[10:20, 10:20] = True
    wanted[13:17, 13:17] = False
    assert (mask == wanted).all()


def test_qupath_counts_from_the_corner_of_the_bounds() -> None:
    plain, shifted = (
        mask_to_geojson(ring_mask(), SLIDE),
        mask_to_geojson(ring_mask(), SLIDE, (100, 50)),
    )
    a = np.array(plain["features"][0]["geometry"]["coordinates"][0])
    b = np.array(shifted["features"][0]["geometry"]["coordinates"][0])
    assert (a - b == [100, 50]).all()
    assert shifted["properties"]["l0_offset"] == [100, 50]


def test_areas_to_exclude_are_cut_out_whatever_their_order(tmp_path: Path) -> None:
    square = [[0, 0], [1600, 0], [1600, 1600], [0, 1600], [0, 0]]
    inner = [[400, 400], [800, 400], [800, 800], [400, 800], [400, 400]]
    hole = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [inner]},
        "properties": {"classification": {"name": "Ignore*"}},
    }
    tissue = {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": [[square]]},
        "properties": None,
    }
    for features in ([hole, tissue], [tissue, hole]):
        mask = read_mask(saved(tmp_path, features), "s", SLIDE, SIZE)
        assert mask[20, 20]
        assert not mask[60, 60]


def test_an_image_is_a_mask(tmp_path: Path) -> None:
    image = ring_mask().astype(np.uint8)[::2, ::2] * 255
    cv2.imwrite(str(tmp_path / "mask.png"), image)
    assert overlap(read_mask(tmp_path / "mask.png", "s", SLIDE, SIZE), ring_mask()) > 0.95


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.geojson", "{", "cannot be read"),
        ("a.geojson", '{"type": "FeatureCollection", "features": []}', "holds no polygon"),
        ("a.geojson", '{"type": "Feature"}', "cannot be read"),
        (
            "a.geojson",
            '{"type": "Polygon", "coordinates": [[[0, 0], [null, 9], [9, 9], [0, 0]]]}',
            "a corner is no number",
        ),
        ("a.json", "3", "cannot be read"),
        ("a.png", "not an image", "is not an image"),
        ("a.png", "", "cannot be read|is not an image"),
    ],
)
def test_a_bad_mask_is_refused_by_name(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SlideError, match=said):
        read_mask(path, "slide7", SLIDE, SIZE)


def test_a_missing_mask_and_one_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no such file"):
        read_mask(tmp_path / "none.geojson", "s", SLIDE, SIZE)
    cv2.imwrite(str(tmp_path / "wide.png"), np.ones((100, 300), np.uint8))
    with pytest.raises(SlideError, match="another shape"):
        read_mask(tmp_path / "wide.png", "s", SLIDE, SIZE)


@pytest.mark.parametrize("value", [(3,), (300,), (1, 0, 0), (0, 1, 0), (0, 0, 1, 0)])
def test_every_pixel_that_is_not_black_is_tissue(tmp_path: Path, value: tuple[int, ...]) -> None:
    """However dark: 16 bits, and colors whose grey rounds to black; alpha says nothing."""
    kind = np.uint16 if len(value) == 1 else np.uint8
    image = np.zeros((SIZE[1], SIZE[0], len(value)), kind)
    image[ring_mask()] = value
    if len(value) == 4:
        image[~ring_mask()] = (0, 0, 0, 255)
    cv2.imwrite(str(tmp_path / "mask.png"), image)
    assert (read_mask(tmp_path / "mask.png", "s", SLIDE, SIZE) == ring_mask()).all()


def test_an_image_mask_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture = Image.fromarray(ring_mask()[::-1, ::-1].astype(np.uint8) * np.uint8(255))
    picture.save(tmp_path / "mask.png", exif=exif)
    assert (read_mask(tmp_path / "mask.png", "s", SLIDE, SIZE) == ring_mask()).all()


def test_thousands_of_pieces_have_their_own_holes() -> None:
    mask = np.zeros((400, 400), np.bool_)
    for y in range(5):
        for x in range(5):
            if (x, y) != (2, 2):
                mask[y::8, x::8] = True
    features = mask_to_geojson(mask, (4000, 4000))["features"]
    assert len(features) == 2500
    assert {len(feature["geometry"]["coordinates"]) for feature in features} == {2}
    assert all(shape(feature["geometry"]).is_valid for feature in features)


def test_no_tissue_is_no_piece() -> None:
    assert mask_to_geojson(np.zeros((30, 40), np.bool_), (400, 300))["features"] == []


@pytest.mark.parametrize(
    ("name", "is_cut_out"),
    [
        ("Ignore*", True),
        ("Pen marks", True),
        ("Holes", True),
        ("excluded", True),
        ("Penile carcinoma", False),
        ("Holey", False),
        ("", False),
    ],
)
def test_a_class_is_cut_out_by_its_first_word(name: str, is_cut_out: bool) -> None:
    assert _is_excluded({"properties": {"classification": {"name": name}}}) is is_cut_out


def test_an_edit_between_samples_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "mask.bmp"
    path.write_bytes(bytes(8 << 20))
    before = mask_digest(path, "s")
    with path.open("r+b") as stream:
        stream.seek(200_000)
        stream.write(b"\x01" * 4096)
    assert mask_digest(path, "s") != before
