"""Tiles as QuPath objects, in GeoJSON."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pathology.core.artifact import publish
from pathology.interop.tile_facts import TileFacts
from pathology.slides.plan import Pair

ObjectType = Literal["tile", "detection"]
TILES = uuid.UUID("5f0c9a3e-8a55-5f0e-9d52-1f3c0b8a7e21")  # namespace of our tiles' ids
DIGITS = 6  # float32 has no more


def export_geojson(
    facts: TileFacts,
    out: Path,
    object_type: ObjectType = "tile",
    *,
    with_measurements: bool = True,
) -> Path:
    """Write OUT/geojson/<slide_id>.geojson, a locked object for each tile.

    Coordinates are level-0 pixels. QuPath counts from the corner of the scanned bounds where a
    slide has them (MRXS), so that corner is subtracted, and named in the file as l0_offset.
    """
    path = out / "geojson" / f"{facts.slide_id}.geojson"
    features = tile_features(facts, object_type, with_measurements=with_measurements)
    about = {"target_mpp": facts.target_mpp, "fingerprint": facts.fingerprint}
    return write_collection(path, facts.slide_id, facts.l0_offset, about, features)


def write_collection(
    path: Path,
    slide_id: str,
    l0_offset: Pair,
    about: Mapping[str, Any],
    features: Iterable[Mapping[str, Any]],
) -> Path:
    """Write a feature collection of a slide, feature by feature, whole or not at all.

    l0_offset  corner that was subtracted from every point
    about      what else is said of it
    """
    said = {
        "slide_id": slide_id,
        "l0_offset": list(l0_offset),
        "l0_offset_note": "subtracted from every point; add it to get OpenSlide's level 0",
        **about,
        "note": "research use only",
    }
    head = json.dumps({"type": "FeatureCollection", "properties": said})
    with publish(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        file.write(head.removesuffix("}") + ', "features": [')
        for number, feature in enumerate(features):
            file.write(("," if number else "") + "\n" + json.dumps(feature, allow_nan=False))
        file.write("\n]}\n")
    return path


def tile_features(
    facts: TileFacts, object_type: ObjectType = "tile", *, with_measurements: bool = True
) -> Iterator[dict[str, Any]]:
    """A GeoJSON feature for each tile, in the order of the store.

    A tile's id depends on its slide, place and size alone: exported again, it is the same object.
    """
    width, height = facts.l0_tile_size
    columns = facts.measurements if with_measurements else {}
    for row, (l0_x, l0_y) in enumerate(facts.l0_xy.tolist()):
        x, y = l0_x - facts.l0_offset[0], l0_y - facts.l0_offset[1]
        corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
        measured = {name: float(values[row]) for name, values in columns.items()}
        properties: dict[str, Any] = {"objectType": object_type, "isLocked": True}
        if measured:
            properties["measurements"] = {
                name: round(value, DIGITS)
                for name, value in measured.items()
                if math.isfinite(value)  # JSON has no NaN
            }
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(TILES, f"{facts.slide_id}/{l0_x},{l0_y}/{width}x{height}")),
            "geometry": {"type": "Polygon", "coordinates": [corners]},
            "properties": properties,
        }
