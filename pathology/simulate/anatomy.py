"""Where everything lies in a piece of colon: outline, grade regions, glands, lumens.

Everything here lives in the *plan* plane, one pixel per micron, so lengths in um are plan pixels.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.simulate.glands import STYLES, Skeleton, all_skeletons
from pathology.simulate.noise import FloatArray, blur, smooth_noise

WISHED_SHARE = (0.14, 0.42)  # of the tissue for the most malignant grade; glands decide


@dataclass(frozen=True)
class Anatomy:
    """The plan of one piece of tissue, (rows, columns) at one micron per pixel.

    grades        uint8, 0 glass, else grade index + 1
    outline_um    signed distance to the edge of the tissue, positive inside
    depth_um      distance below the basement membrane, positive inside glands
    lumen_um      distance inside a lumen, positive inside lumens
    lymphoid      0 to 1, how much of a lymphoid aggregate
    """

    grades: NDArray[np.uint8]
    outline_um: FloatArray
    depth_um: FloatArray
    lumen_um: FloatArray
    lymphoid: FloatArray

    def is_grade(self, grade: int) -> NDArray[np.bool_]:
        """Where the tissue has this grade, an index into GRADES."""
        return np.asarray(self.grades == grade + 1)


def tissue_outline(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Signed distance in plan pixels to an irregular outline, positive inside the tissue."""
    rows, columns = shape
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)
    height = 1 - (x * x * np.abs(x) + y * y * np.abs(y))
    height += 0.16 * smooth_noise(rng, shape, 260) + 0.035 * smooth_noise(rng, shape, 60)
    height -= 12 * np.clip(np.maximum(np.abs(x), np.abs(y)) - 0.86, 0, 1)  # glass all round
    inside = (height > 0.30).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return signed_distance(parts == largest)


def signed_distance(inside: NDArray[np.bool_]) -> FloatArray:
    """Pixels to the edge of a region, positive inside, negative outside."""
    mask = inside.astype(np.uint8)
    within = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    beyond = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    return np.asarray(within - beyond, dtype=np.float32)


def wanted_grades(
    rng: np.random.Generator,
    inside: NDArray[np.bool_],
    label: int,
    top_share: tuple[float, float] = WISHED_SHARE,
) -> NDArray[np.int64]:
    """Grade index wished for at every plan pixel: nested regions, the most malignant inmost."""
    wanted = np.zeros(inside.shape, np.int64)
    rows, columns = inside.shape
    y, x = np.indices(inside.shape, dtype=np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    slope = (math.cos(angle) * x + math.sin(angle) * y) / math.hypot(rows, columns)
    severity = 3.0 * slope.astype(np.float32) + 0.55 * smooth_noise(rng, inside.shape, 420)
    share = rng.uniform(*top_share)
    for grade in range(label, 0, -1):
        wanted[(severity > np.quantile(severity[inside][::7], 1 - share)) & (wanted == 0)] = grade
        share += rng.uniform(0.1, 0.3)
    return wanted


def plan_tissue(
    rng: np.random.Generator,
    shape: tuple[int, int],
    label: int,
    top_share: tuple[float, float] = WISHED_SHARE,
) -> Anatomy:
    """Draw the plan of one piece of tissue whose most malignant grade is label.

    shape      (rows, columns) in um
    label      index into GRADES
    top_share  of the tissue, at least and at most, wished for the label's grade; what it gets is
               up to the glands
    """
    outline = tissue_outline(rng, shape)
    inside = outline > 0
    wanted = wanted_grades(rng, inside, label, top_share)
    lymphoid = lymphoid_aggregates(rng, outline)
    is_free = (outline > 15) & (blur(lymphoid, 30) < 0.12) & (smooth_noise(rng, shape, 120) < 2.0)
    skeletons, gland_grades, radii = all_skeletons(rng, wanted, is_free)

    distance, part, gland, lumens = nearest_gland(shape, skeletons)
    grade = np.asarray(gland_grades)[gland]
    warp = blur(np.asarray([s.warp_um for s in STYLES], np.float32)[grade], 20)
    x, y = warped_grid(rng, warp)
    distance = np.asarray(cv2.remap(distance, x, y, cv2.INTER_LINEAR), np.float32)
    columns, rows = x.round().astype(np.intp), y.round().astype(np.intp)
    part, gland = part[rows, columns], gland[rows, columns]

    grade = np.asarray(gland_grades)[gland]
    rough = np.asarray([s.rough_um for s in STYLES], np.float32)[grade]
    gap = np.asarray([s.gap_um for s in STYLES], np.float32)[grade]
    rough = rough * smooth_noise(rng, shape, 14)
    to_neighbour = blur(border_distance(gland), 2.0)
    depth = np.asarray(radii, np.float32)[gland] - distance
    depth = np.minimum(depth, to_neighbour - gap / 2) + rough
    depth = np.where(lymphoid > 0.5, np.float32(-5), depth)
    lumen = np.minimum(lumens[part] - distance, depth - 14) + 0.5 * rough
    truth = np.where(inside, grade + 1, 0).astype(np.uint8)
    return Anatomy(truth, outline, blur(depth, 1.0), blur(lumen, 1.0), lymphoid)


def nearest_gland(
    shape: tuple[int, int], skeletons: list[Skeleton]
) -> tuple[FloatArray, NDArray[np.int32], NDArray[np.int64], FloatArray]:
    """Distance to the nearest skeleton, which part that is, its gland, and each part's lumen in um.

    Skeletons that touch become one part, and thus one gland: fused glands.
    """
    canvas = np.full(shape, 255, np.uint8)
    for skeleton in skeletons:
        points = skeleton.xy_um.round().astype(np.int32)
        cv2.polylines(canvas, [points.reshape(-1, 1, 2)], False, 0)
    distance, part = cv2.distanceTransformWithLabels(
        canvas, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    gland_of = np.zeros(int(part.max()) + 1, np.int64)
    lumens = np.zeros(len(gland_of), np.float32)
    top = np.array(shape[::-1]) - 1
    for skeleton in skeletons:
        for x, y in np.clip(skeleton.xy_um.round().astype(int), 0, top):
            gland_of[part[y, x]] = skeleton.gland
            lumens[part[y, x]] = skeleton.lumen_um
    gland = np.asarray(gland_of[part], np.int64)
    return np.asarray(distance, np.float32), np.asarray(part, np.int32), gland, lumens


def warped_grid(rng: np.random.Generator, warp_um: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where each plan pixel looks, x and y, when everything is pulled about by warp_um."""
    rows, columns = warp_um.shape
    y, x = np.indices(warp_um.shape).astype(np.float32)
    pulled_x = x + warp_um * (0.6 * smooth_noise(rng, (rows, columns), 45))
    pulled_y = y + warp_um * (0.6 * smooth_noise(rng, (rows, columns), 45))
    return (
        np.asarray(np.clip(pulled_x, 0, columns - 1), np.float32),
        np.asarray(np.clip(pulled_y, 0, rows - 1), np.float32),
    )


def border_distance(cells: NDArray[np.int64]) -> FloatArray:
    """Pixels to the nearest place where two cells meet."""
    open_ground = np.ones(cells.shape, np.uint8)
    open_ground[:, 1:][cells[:, 1:] != cells[:, :-1]] = 0
    open_ground[1:][cells[1:] != cells[:-1]] = 0
    return np.asarray(cv2.distanceTransform(open_ground, cv2.DIST_L2, 5), np.float32)


def lymphoid_aggregates(rng: np.random.Generator, outline_um: FloatArray) -> FloatArray:
    """Weight, 0 to 1, of up to three round lymphoid aggregates inside the tissue."""
    weight = np.zeros(outline_um.shape, np.float32)
    room = np.argwhere(outline_um[::8, ::8] > 120) * 8
    num = int(rng.integers(0, 4)) if min(outline_um.shape) > 900 else 0  # small pieces hold none
    for _ in range(num):
        y, x = room[rng.integers(len(room))]
        cv2.circle(weight, (int(x), int(y)), int(rng.uniform(45, 95)), 1.0, -1)
    ragged = blur(weight, 14) + 0.1 * smooth_noise(rng, outline_um.shape, 25)
    return np.asarray(np.clip(ragged * 3 - 1, 0, 1), np.float32)
