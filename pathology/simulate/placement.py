"""Which cells lie where: nuclei along glands and through stroma, by grade."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.simulate.anatomy import Anatomy
from pathology.simulate.cells import Cells, make_cells
from pathology.simulate.glands import ADENOMA, CARCINOMA, HEALTHY
from pathology.simulate.noise import FloatArray, blur, smooth_noise


@dataclass(frozen=True)
class Compass:
    """Direction in radians in which depth grows, at every plan pixel."""

    inward: FloatArray

    def at(self, xy_um: FloatArray) -> FloatArray:
        """Directions at points (N, 2)."""
        x, y = xy_um.round().astype(np.intp).T
        rows, columns = self.inward.shape
        there = self.inward[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
        return np.asarray(there, np.float32)


def compass(depth_um: FloatArray) -> Compass:
    """The compass of a depth map in the plan plane."""
    smooth = blur(depth_um, 2.5)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return Compass(np.arctan2(dy, dx).astype(np.float32))


def along_contours(
    rng: np.random.Generator, inside: NDArray[np.bool_], spacing_um: float
) -> FloatArray:
    """Points about spacing_um apart along every edge of a region, (N, 2) as x, y in um."""
    found, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    points = [np.zeros((0, 2))]
    for contour in found:
        curve = np.concatenate([contour[:, 0], contour[:1, 0]]).astype(np.float64)
        steps = np.linalg.norm(np.diff(curve, axis=0), axis=1)
        travelled = np.concatenate([[0], np.cumsum(steps)])
        num = round(travelled[-1] / spacing_um)
        if num < 3:
            continue
        places = (np.arange(num) + rng.uniform(-0.22, 0.22, num)) / num * travelled[-1]
        points.append(np.stack([np.interp(places, travelled, curve[:, k]) for k in (0, 1)], 1))
    return np.concatenate(points).astype(np.float32)


def scattered(
    rng: np.random.Generator, chance: FloatArray, spacing_um: float, jitter: float = 0.3
) -> FloatArray:
    """Points of a shaken grid, each kept with the chance its place has; (N, 2) in um."""
    rows, columns = chance.shape
    x, y = np.meshgrid(np.arange(0, columns, spacing_um), np.arange(0, rows, spacing_um * 0.87))
    x[1::2] += spacing_um / 2
    xy = np.stack([x.ravel(), y.ravel()], 1)
    xy += rng.normal(0, jitter * spacing_um, xy.shape)
    luck = rng.uniform(size=len(xy))
    column, row = xy.round().astype(np.intp).T
    is_on = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    xy, luck, column, row = xy[is_on], luck[is_on], column[is_on], row[is_on]
    return np.asarray(xy[luck < chance[row, column]], np.float32)


def place_cells(rng: np.random.Generator, plan: Anatomy) -> list[Cells]:
    """Every cell of the tissue, in the order of drawing."""
    inward = compass(plan.depth_um)
    tissue = plan.outline_um > 4
    epithelium = tissue & (plan.depth_um > 0) & (plan.lumen_um < -2)
    return [
        *healthy_epithelium(rng, plan, inward, tissue & plan.is_grade(HEALTHY)),
        *adenoma_epithelium(rng, plan, inward, tissue & plan.is_grade(ADENOMA)),
        *carcinoma_epithelium(rng, plan, epithelium & plan.is_grade(CARCINOMA)),
        *stroma(rng, plan, inward, tissue),
    ]


def healthy_epithelium(
    rng: np.random.Generator, plan: Anatomy, inward: Compass, here: NDArray[np.bool_]
) -> list[Cells]:
    """Goblet vacuoles above one row of small, round, basal nuclei."""
    goblets = along_contours(rng, here & (plan.depth_um > 16.5), 9.5)
    deep = along_contours(rng, here & (plan.depth_um > 25) & (plan.lumen_um < -1), 9.0)
    goblets = np.concatenate([goblets, deep[rng.uniform(size=len(deep)) < 0.35]])
    goblets = goblets[rng.uniform(size=len(goblets)) < 0.86]
    basal = along_contours(rng, here & (plan.depth_um > 5.0), 5.8)
    basal += rng.normal(0, 0.7, basal.shape).astype(np.float32)
    return [
        make_cells(
            rng,
            goblets,
            inward.at(goblets),
            wobble=0.15,
            semi_um=(6.2, 4.2),
            stain=(0.13, 0.07),
            spread=0.12,
            opacity=0.8,
            clearing=0.1,
        ),
        make_cells(
            rng,
            basal,
            inward.at(basal),
            wobble=0.5,
            semi_um=(3.5, 2.8),
            stain=(1.15, 0.25),
            spread=0.10,
            clearing=0.25,
        ),
    ]


def adenoma_epithelium(
    rng: np.random.Generator, plan: Anatomy, inward: Compass, here: NDArray[np.bool_]
) -> list[Cells]:
    """Long dark nuclei standing in several rows, none quite at the same height."""
    rows = [
        along_contours(rng, here & (plan.depth_um > depth_um) & (plan.lumen_um < -5), spacing_um)
        for depth_um, spacing_um in ((19.0, 7.5), (12.5, 5.6), (6.5, 5.2))
    ]
    xy = np.concatenate(rows)
    angle = inward.at(xy)
    shift = 1.9 * rng.standard_normal((len(xy), 1), dtype=np.float32)
    return [
        make_cells(
            rng,
            xy + np.stack([np.cos(angle), np.sin(angle)], 1) * shift,
            angle,
            wobble=0.14,
            semi_um=(5.8, 2.15),
            stain=(1.45, 0.3),
            spread=0.13,
            clearing=0.18,
        )
    ]


def carcinoma_epithelium(
    rng: np.random.Generator, plan: Anatomy, here: NDArray[np.bool_]
) -> list[Cells]:
    """Large uneven nuclei without order, some pale with a nucleolus, some very dark."""
    chance = 0.92 * (here & (plan.depth_um > 2.5)).astype(np.float32)
    xy = scattered(rng, chance, 9.2, 0.24)
    is_pale = rng.uniform(size=len(xy)) < 0.55
    pale, dark = xy[is_pale], xy[~is_pale]
    debris = scattered(rng, 0.35 * ((plan.lumen_um > 3) & plan.is_grade(CARCINOMA)), 7.0, 0.5)
    return [
        make_cells(
            rng,
            debris,
            semi_um=(1.5, 1.0),
            stain=(1.3, 0.5),
            spread=0.5,
            bumps=0.3,
        ),
        make_cells(
            rng,
            pale,
            semi_um=(5.0, 3.9),
            stain=(1.2, 0.28),
            spread=0.20,
            bumps=0.14,
            clearing=0.5,
            nucleolus=0.9,
        ),
        make_cells(
            rng,
            dark,
            semi_um=(4.8, 3.3),
            stain=(1.65, 0.3),
            spread=0.25,
            bumps=0.22,
            clearing=0.15,
        ),
    ]


def stroma(
    rng: np.random.Generator, plan: Anatomy, inward: Compass, tissue: NDArray[np.bool_]
) -> list[Cells]:
    """Fibroblasts along the glands, lymphocytes here and there, red cells in small vessels."""
    ground = (tissue & (plan.depth_um < -3)).astype(np.float32)
    malignant = plan.is_grade(CARCINOMA)
    patchy = np.clip(0.5 + 0.5 * smooth_noise(rng, plan.grades.shape, 90), 0, 1)
    spindle = scattered(rng, ground * np.where(malignant, 0.55, 0.22), 11.0, 0.4)
    chance = ground * np.where(malignant, 0.30, 0.42) * patchy * (1 - plan.lymphoid)
    small = scattered(rng, chance, 8.5, 0.3)
    follicle = scattered(rng, tissue * plan.lymphoid * 0.95, 6.1, 0.16)
    vessels = smooth_noise(rng, plan.grades.shape, 22) > 2.3
    red = scattered(rng, 0.8 * ground * vessels, 6.0, 0.2)
    lymphocytes = np.concatenate([small, follicle])
    return [
        make_cells(
            rng,
            red,
            semi_um=(3.2, 2.7),
            stain=(0.05, 1.5),
            spread=0.08,
            clearing=0.0,
        ),
        make_cells(
            rng,
            spindle,
            inward.at(spindle) + np.float32(np.pi / 2),
            wobble=0.3,
            semi_um=(6.0, 1.35),
            stain=(1.05, 0.5),
            spread=0.2,
            bumps=0.05,
            opacity=0.85,
        ),
        make_cells(
            rng,
            lymphocytes,
            semi_um=(2.95, 2.65),
            stain=(1.55, 0.25),
            spread=0.09,
            clearing=0.12,
        ),
    ]
