"""The graded tiles of a slide, as other programs are handed them: QuPath objects and a heatmap.

N tiles, C grades.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.interop.geojson import TILES, write_collection
from pathology.slides.plan import Pair

GREEN, YELLOW, RED = (26, 152, 80), (254, 224, 139), (215, 48, 39)
DIGITS = 4


@dataclass(frozen=True, eq=False)
class GradedTiles:
    """Tiles of one slide with the probabilities of their grades.

    l0_xy          corners (N, 2), and l0_edge, in level-0 pixels
    l0_size        (width, height) of the slide
    l0_offset      corner of the scanned bounds, which QuPath counts from
    mpp            of level 0; None: not known
    grade          the slide's own, or ""; sureness: how sure it is, for people
    """

    slide_id: str
    grades: Sequence[str]
    probability_NC: NDArray[np.float64]
    l0_xy: NDArray[np.int64]
    l0_edge: int
    l0_size: Pair
    l0_offset: Pair = (0, 0)
    mpp: float | None = None
    grade: str = ""
    sureness: str = ""

    @cached_property
    def grade_N(self) -> NDArray[np.int64]:
        """The likeliest grade of each tile."""
        return np.asarray(self.probability_NC.argmax(axis=1), np.int64)

    @cached_property
    def severity_N(self) -> NDArray[np.float64]:
        """Expected grade of each tile over the worst one: 0 surely benign, 1 surely the worst."""
        steps = np.arange(len(self.grades)) / max(1, len(self.grades) - 1)
        return np.asarray(self.probability_NC @ steps, np.float64)


def colors_of(num_grades: int) -> list[tuple[int, int, int]]:
    """RGB of each grade, green (benign) over yellow to red.

    >>> colors_of(3) == [GREEN, YELLOW, RED]
    True
    """
    return [severity_color(k / max(1, num_grades - 1)) for k in range(num_grades)]


def severity_color(severity: float) -> tuple[int, int, int]:
    """RGB between the three colors, at a severity from 0 to 1."""
    stops = np.array([GREEN, YELLOW, RED], np.float64)
    red, green, blue = (np.interp(severity, [0, 0.5, 1], stops[:, k]) for k in range(3))
    return round(float(red)), round(float(green)), round(float(blue))


def export_tiles(slide: GradedTiles, path: Path) -> Path:
    """Write every tile as a locked QuPath tile with its class and probabilities."""
    return _write(slide, path, _tile_features(slide))


def export_regions(slide: GradedTiles, path: Path) -> Path:
    """Write one QuPath annotation for each stretch of neighboring tiles of one grade.

    The lowest grade has none: what is not outlined is benign, or has no tile.
    """
    return _write(slide, path, _region_features(slide))


def _tile_features(slide: GradedTiles) -> Iterator[dict[str, Any]]:
    colors, edge = colors_of(len(slide.grades)), slide.l0_edge
    for row, (l0_x, l0_y) in enumerate(slide.l0_xy.tolist()):
        x, y = l0_x - slide.l0_offset[0], l0_y - slide.l0_offset[1]
        ring = [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge], [x, y]]
        chances = slide.probability_NC[row].tolist()
        grade = int(slide.grade_N[row])
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(TILES, f"{slide.slide_id}/{l0_x},{l0_y}/{edge}x{edge}")),
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "objectType": "tile",
                "isLocked": True,
                "classification": {"name": slide.grades[grade], "color": list(colors[grade])},
                "measurements": {
                    f"prob_{name}": round(chance, DIGITS)
                    for name, chance in zip(slide.grades, chances, strict=True)
                },
            },
        }


def _region_features(slide: GradedTiles) -> Iterator[dict[str, Any]]:
    from shapely import STRtree, box, points, unary_union
    from shapely.geometry import mapping

    colors = colors_of(len(slide.grades))
    x0, y0 = slide.l0_offset
    for grade in range(1, len(slide.grades)):
        rows = np.flatnonzero(slide.grade_N == grade)
        corners = slide.l0_xy[rows] - [x0, y0]
        whole = unary_union(box(*corners.T, *(corners + slide.l0_edge).T))
        middles = STRtree(points(corners + slide.l0_edge / 2))
        for number, region in enumerate(getattr(whole, "geoms", [whole] if len(rows) else [])):
            inside = rows[np.sort(middles.query(region, predicate="contains"))]
            yield {
                "type": "Feature",
                "id": str(uuid.uuid5(TILES, f"{slide.slide_id}/{grade}/{number}/{region.wkt}")),
                "geometry": mapping(region),
                "properties": {
                    "objectType": "annotation",
                    "name": f"{slide.grades[grade]} {number + 1}",
                    "classification": {"name": slide.grades[grade], "color": list(colors[grade])},
                    "measurements": {
                        "tiles": len(inside),
                        "mean probability": round(
                            float(slide.probability_NC[inside, grade].mean()), DIGITS
                        ),
                    },
                },
            }


def _write(slide: GradedTiles, path: Path, features: Iterator[dict[str, Any]]) -> Path:
    about = {"grade": slide.grade}
    return write_collection(path, slide.slide_id, slide.l0_offset, about, features)
