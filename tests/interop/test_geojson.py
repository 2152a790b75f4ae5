import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from shapely.geometry import shape

from pathology.interop.geojson import export_geojson, tile_features
from pathology.interop.tile_facts import facts_of_store
from pathology.tiling.store import TileStore

MakeStore = Callable[..., TileStore]


def test_one_locked_object_a_tile(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    path = export_geojson(facts_of_store(store), tmp_path / "out")
    assert path == tmp_path / "out/geojson/slide_1.geojson"
    data = json.loads(path.read_text())
    assert data["type"] == "FeatureCollection"
    assert data["properties"]["l0_offset"] == [0, 0]
    assert len(data["features"]) == 5
    for feature, (x, y), fraction in zip(
        data["features"], store.l0_xy.tolist(), store.columns["tissue_fraction"], strict=True
    ):
        assert shape(feature["geometry"]).bounds == (x, y, x + 128, y + 128)
        assert feature["properties"]["objectType"] == "tile"
        assert feature["properties"]["isLocked"] is True
        assert abs(feature["properties"]["measurements"]["tissue_fraction"] - fraction) < 1e-6
        assert str(uuid.UUID(feature["id"])) == feature["id"]


def test_the_corner_of_the_scan_is_subtracted_and_named(make_store: MakeStore) -> None:
    store = make_store(bounds=[1000, 300, 5000, 5000])
    facts = facts_of_store(store)
    assert facts.l0_offset == (1000, 300)
    feature = next(tile_features(facts))
    x, y = store.l0_xy[0].tolist()
    assert feature["geometry"]["coordinates"][0][0] == [x - 1000, y - 300]


def test_offset_is_said_in_the_file(make_store: MakeStore, tmp_path: Path) -> None:
    facts = facts_of_store(make_store(bounds=[1000, 300, 5000, 5000]))
    said = json.loads(export_geojson(facts, tmp_path).read_text())["properties"]
    assert said["l0_offset"] == [1000, 300]
    assert "subtracted" in said["l0_offset_note"]


def test_ids_are_the_same_next_time_and_differ_between_tiles(make_store: MakeStore) -> None:
    facts = facts_of_store(make_store())
    first = [feature["id"] for feature in tile_features(facts)]
    again = [feature["id"] for feature in tile_features(facts, "detection")]
    other = [feature["id"] for feature in tile_features(replace(facts, slide_id="slide_2"))]
    assert first == again
    assert len({*first, *other}) == 10


def test_measurements_are_optional_and_never_nan(make_store: MakeStore, tmp_path: Path) -> None:
    facts = facts_of_store(make_store())
    bare = next(tile_features(facts, with_measurements=False))
    assert "measurements" not in bare["properties"]
    holes = replace(facts, measurements={"sharpness": np.full(5, np.nan, np.float32)})
    data = json.loads(export_geojson(holes, tmp_path).read_text())
    assert data["features"][0]["properties"]["measurements"] == {}


def test_a_slide_without_tiles_is_valid_geojson(make_store: MakeStore, tmp_path: Path) -> None:
    path = export_geojson(facts_of_store(make_store(num_tiles=0)), tmp_path)
    assert json.loads(path.read_text())["features"] == []
