"""How glands of each grade are laid out, as the skeletons they grow around.

A skeleton is a short curve whose nearest neighbourhood (a Voronoi cell) becomes one gland. A long
one makes a tubule; several in one gland make a cribriform one. Lengths are in um.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRADES = ("healthy", "adenoma", "carcinoma")  # benign to malignant
HEALTHY, ADENOMA, CARCINOMA = range(len(GRADES))
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class GlandStyle:
    """How the glands of one grade are laid out; every length in um."""

    along_um: float  # distance between neighbours along the tubules
    across_um: float  # and across them
    jitter: float  # disorder of the layout, as a fraction of across_um
    length_um: Range  # of a skeleton
    num_lumens: tuple[int, int]  # skeletons per gland
    scatter_um: float  # how far the skeletons of one gland lie apart
    radius_um: Range  # basement membrane to skeleton
    lumen_um: Range  # lumen wall to skeleton
    gap_um: float  # stroma between back-to-back glands
    warp_um: float  # how far outlines are pulled out of shape
    rough_um: float  # unevenness of the outline


STYLES = (
    GlandStyle(
        along_um=104,
        across_um=100,
        jitter=0.07,
        length_um=(0, 16),
        num_lumens=(1, 1),
        scatter_um=0,
        radius_um=(36, 45),
        lumen_um=(5, 12),
        gap_um=12,
        warp_um=4,
        rough_um=1.0,
    ),
    GlandStyle(
        along_um=150,
        across_um=78,
        jitter=0.10,
        length_um=(60, 125),
        num_lumens=(1, 1),
        scatter_um=0,
        radius_um=(34, 46),
        lumen_um=(3, 10),
        gap_um=9,
        warp_um=10,
        rough_um=1.5,
    ),
    GlandStyle(
        along_um=150,
        across_um=125,
        jitter=0.22,
        length_um=(0, 50),
        num_lumens=(2, 8),
        scatter_um=36,
        radius_um=(26, 44),
        lumen_um=(3, 16),
        gap_um=16,
        warp_um=20,
        rough_um=4.0,
    ),
)


@dataclass(frozen=True)
class Skeleton:
    """A curve (N, 2) as x, y in um, the number of its gland, and the lumen around it."""

    xy_um: NDArray[np.float64]
    gland: int
    lumen_um: float


def lay_out(
    rng: np.random.Generator, shape: tuple[int, int], style: GlandStyle
) -> tuple[NDArray[np.float64], float]:
    """Gland centers, (N, 2) as x, y in um, on a disordered lattice; its direction in radians."""
    rows, columns = shape
    reach = math.hypot(rows, columns) / 2
    u = np.arange(-reach, reach, style.along_um)
    v = np.arange(-reach, reach, style.across_um * 0.87)
    grid_u, grid_v = np.meshgrid(u, v)
    grid_u[1::2] += style.along_um / 2
    points = np.stack([grid_u.ravel(), grid_v.ravel()], axis=1)
    points += rng.normal(0, style.jitter * style.across_um, points.shape)
    angle = rng.uniform(0, math.pi)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return points @ turn + (columns / 2, rows / 2), angle


def grow_skeletons(
    rng: np.random.Generator,
    center_um: NDArray[np.float64],
    angle: float,
    style: GlandStyle,
    gland: int,
) -> list[Skeleton]:
    """The curves that one gland grows around."""
    skeletons = []
    num = int(rng.integers(style.num_lumens[0], style.num_lumens[1] + 1))
    for _ in range(num):
        start = center_um + rng.normal(0, style.scatter_um * math.sqrt(num / 4), 2)
        half = rng.uniform(*style.length_um) / 2
        heading = angle + rng.normal(0, 0.12 + style.jitter * 2)
        along = np.array([math.cos(heading), math.sin(heading)])
        bend = np.array([-along[1], along[0]]) * rng.normal(0, 0.12) * half
        curve = np.stack([start - half * along, start + bend, start + half * along])
        skeletons.append(Skeleton(curve, gland, rng.uniform(*style.lumen_um)))
    return skeletons


def all_skeletons(
    rng: np.random.Generator,
    wanted: NDArray[np.int64],
    is_free: NDArray[np.bool_],
) -> tuple[list[Skeleton], list[int], list[float]]:
    """Skeletons of every gland, and each gland's grade and radius in um."""
    skeletons: list[Skeleton] = []
    grades: list[int] = []
    radii: list[float] = []
    centers: list[NDArray[np.float64]] = []
    rows, columns = wanted.shape
    for grade in reversed(range(len(STYLES))):
        style = STYLES[grade]
        points, angle = lay_out(rng, wanted.shape, style)
        for center in points:
            x, y = int(center[0]), int(center[1])
            if not (0 <= x < columns and 0 <= y < rows and is_free[y, x]):
                continue
            if wanted[y, x] != grade or is_crowded(center, centers, grades, grade):
                continue
            skeletons += grow_skeletons(rng, center, angle, style, len(grades))
            grades.append(grade)
            radii.append(rng.uniform(*style.radius_um))
            centers.append(center)
    return skeletons, grades, radii


def is_crowded(
    center: NDArray[np.float64], centers: list[NDArray[np.float64]], grades: list[int], grade: int
) -> bool:
    """Whether a gland of another grade lies too near; a lattice keeps its own apart."""
    others = [c for c, g in zip(centers, grades, strict=True) if g != grade]
    if not others:
        return False
    return bool(np.min(np.linalg.norm(np.stack(others) - center, axis=1)) < 70)
