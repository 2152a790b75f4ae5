"""Tissue masks in and out: GeoJSON as QuPath writes and reads it, or an image."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import sha256_of
from pathology.core.errors import SlideError
from pathology.slides.plan import Pair
from pathology.tiling.tissue import Mask

EXCLUDED = re.compile(  # a first word, as in "Ignore*" and "Pen marks"
    r"(?:excluded?|ignored?|artefacts?|artifacts?|holes?|pens?|background)(?![a-z])"
)
TISSUE_COLOR = (0, 128, 0)
MAX_ASPECT_ERROR = 0.02
REMEDY = "Give a GeoJSON file from QuPath or an image of the slide's shape as mask_path"
AS_STORED = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR  # all bits, no alpha, upright by EXIF


def mask_to_geojson(mask: Mask, l0_slide: Pair, l0_offset: Pair = (0, 0)) -> dict[str, Any]:
    """A mask of the whole slide as one QuPath annotation a piece, holes included.

    Read again by read_mask at the same size it is the same mask: rings run a quarter of a pixel
    within the tissue's edge.

    l0_slide   (width, height) of the slide, which the mask (H, W) is stretched over
    l0_offset  subtracted from every point: QuPath counts from the corner of the scanned bounds
    """
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([l0_slide[0] / doubled.shape[1], l0_slide[1] / doubled.shape[0]])
    rings = [_ring(np.asarray(contour, np.int32), scale, l0_offset) for contour in contours]
    pieces: dict[int, list[int]] = {}
    holes: defaultdict[int, list[Any]] = defaultdict(list)
    parents = hierarchy[0, :, 3].tolist() if rings else []
    for number, (ring, parent) in enumerate(zip(rings, parents, strict=True)):
        if len(ring) < 4:
            continue
        if parent < 0:
            pieces[number] = ring
        else:
            holes[parent].append(ring)
    return {
        "type": "FeatureCollection",
        "features": [
            _annotation(count, [ring, *holes[number]])
            for count, (number, ring) in enumerate(pieces.items())
        ],
        "properties": {"l0_offset": list(l0_offset), "note": "research use only"},
    }


def read_mask(
    path: Path, slide_id: str, l0_slide: Pair, size: Pair, l0_offset: Pair = (0, 0)
) -> Mask:
    """A user's mask as a boolean array of size (width, height) laid over the whole slide.

    GeoJSON areas are tissue, except those classed as one of exclude, ignore, artefact, hole, pen,
    background, which are cut out. In an image every pixel that is not black is tissue.
    l0_offset is added to GeoJSON points, as QuPath leaves it out. Raises SlideError.
    """
    try:
        if path.suffix.lower() in (".geojson", ".json"):
            data = json.loads(path.read_text(encoding="utf-8"))
            return _rasterize(data, l0_slide, size, l0_offset)
        image = cv2.imdecode(np.fromfile(path, np.uint8), AS_STORED)
    except OSError as error:
        raise _unreadable(path, slide_id, error) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, cv2.error) as error:
        raise SlideError(slide_id, f"mask {path.name} cannot be read ({error})", REMEDY) from error
    if image is None:
        raise SlideError(slide_id, f"mask {path.name} is not an image", REMEDY)
    is_tissue = (image if image.ndim == 2 else image.any(axis=2)) != 0
    return _stretched(is_tissue.astype(np.uint8), path, slide_id, l0_slide, size)


def mask_digest(path: Path, slide_id: str) -> str:
    """Twelve hex digits of a user's mask, of all its bytes. Raises SlideError where there is none.

    Samples would miss what was edited between them.
    """
    try:
        return sha256_of(path)[:12]
    except OSError as error:
        raise _unreadable(path, slide_id, error) from error


def _stretched(
    image: NDArray[np.uint8], path: Path, slide_id: str, l0_slide: Pair, size: Pair
) -> Mask:
    aspect = (image.shape[1] / image.shape[0]) / (l0_slide[0] / l0_slide[1])
    if abs(aspect - 1) > MAX_ASPECT_ERROR + 2 / min(image.shape):
        raise SlideError(
            slide_id,
            f"mask {path.name} is {image.shape[1]}x{image.shape[0]} px, of another shape than the "
            f"slide ({l0_slide[0]}x{l0_slide[1]})",
            REMEDY,
        )
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST) > 0, np.bool_)


def _unreadable(path: Path, slide_id: str, error: OSError) -> SlideError:
    said = (error.strerror or "unreadable").lower()
    return SlideError(slide_id, f"mask {path}: {said}", REMEDY)


def _rasterize(data: Any, l0_slide: Pair, size: Pair, l0_offset: Pair) -> Mask:
    canvas = np.zeros((size[1], size[0]), np.bool_)
    scale = np.array([size[0] / l0_slide[0], size[1] / l0_slide[1]])
    areas = [(p, _is_excluded(feature)) for feature in _features(data) for p in _polygons(feature)]
    if not areas:
        raise ValueError("it holds no polygon")
    for rings, is_excluded in sorted(areas, key=lambda area: area[1]):
        edges = [
            _edges((np.asarray(ring, np.float64)[:, :2] + l0_offset) * scale) for ring in rings
        ]
        _fill(canvas, np.concatenate(edges), not is_excluded)
    return canvas


def _edges(corners_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring's edges (N, 4) as x0, y0, x1, y1. Raises ValueError for corners that are nowhere."""
    if not np.isfinite(corners_N2).all():
        raise ValueError("a corner is no number")
    return np.hstack([corners_N2, np.roll(corners_N2, -1, axis=0)])


def _fill(canvas: Mask, edges_E4: NDArray[np.float64], value: bool) -> None:
    """Set the pixels whose centres lie in a polygon: within an odd number of its rings.

    edges_E4  of all rings, in pixels

    Each edge turns over, in the rows whose centres it passes, all that lies to its right.
    """
    height, width = canvas.shape
    x0_E, y0_E, x1_E, y1_E = edges_E4.T
    top_E, bottom_E = (
        np.clip(np.ceil(each(y0_E, y1_E) - 0.5), 0, height).astype(np.int64)
        for each in (np.minimum, np.maximum)
    )
    num_E = bottom_E - top_E
    if not num_E.any():
        return
    edge_X = np.repeat(np.arange(len(num_E)), num_E)  # one for each row that an edge passes
    row_X = np.arange(num_E.sum()) + (top_E - (np.cumsum(num_E) - num_E))[edge_X]
    share_X = (row_X + 0.5 - y0_E[edge_X]) / (y1_E - y0_E)[edge_X]
    x_X = x0_E[edge_X] + share_X * (x1_E - x0_E)[edge_X]
    column_X = np.clip(np.ceil(x_X - 0.5), 0, width).astype(np.int64)
    (top, left), (bottom, right) = (
        (int(limit(row_X)), int(limit(column_X))) for limit in (np.min, np.max)
    )
    turned = np.zeros((bottom + 1 - top, right + 1 - left), np.uint8)
    np.bitwise_xor.at(turned, (row_X - top, column_X - left), np.uint8(1))
    inside = np.bitwise_xor.accumulate(turned, axis=1)[:, : width - left] > 0
    canvas[top : bottom + 1, left : left + inside.shape[1]][inside] = value


def _features(data: Any) -> list[dict[str, Any]]:
    if isinstance(data, list):
        return data
    return list(data["features"]) if data.get("type") == "FeatureCollection" else [data]


def _polygons(feature: dict[str, Any]) -> Iterator[list[Any]]:
    geometry = feature.get("geometry", feature)
    if geometry["type"] == "Polygon":
        yield geometry["coordinates"]
    elif geometry["type"] == "MultiPolygon":
        yield from geometry["coordinates"]


def _is_excluded(feature: dict[str, Any]) -> bool:
    name = ((feature.get("properties") or {}).get("classification") or {}).get("name", "")
    return EXCLUDED.match(str(name).lower()) is not None


def _ring(contour: NDArray[np.int32], scale: NDArray[np.float64], l0_offset: Pair) -> list[Any]:
    points = np.rint((contour[:, 0, :] + 0.5) * scale - l0_offset).astype(int).tolist()
    return [*points, points[0]]


def _annotation(number: int, rings: list[Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "name": f"tissue {number + 1}",
            "classification": {"name": "Tissue", "color": list(TISSUE_COLOR)},
            "isLocked": False,
        },
    }
