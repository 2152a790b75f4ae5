"""Stain concentrations of one piece of colon-like tissue, from nothing but a seed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ConfigError
from pathology.simulate.anatomy import WISHED_SHARE, Anatomy, plan_tissue
from pathology.simulate.cells import paint_cells
from pathology.simulate.glands import CARCINOMA, GRADES
from pathology.simulate.noise import FloatArray, blur, ramp, smooth_noise
from pathology.simulate.placement import place_cells

# by grade, benign to malignant
CYTOPLASM_HAEMATOXYLIN = (0.16, 0.42, 0.30)
CYTOPLASM_EOSIN = (0.62, 0.55, 0.62)
STROMA_EOSIN = (0.50, 0.50, 0.68)


@dataclass(frozen=True)
class Tissue:
    """One piece of tissue, independent of who stains and scans it.

    concentrations  (rows, columns, 2) amounts of haematoxylin and eosin at mpp; 0 on glass
    mpp             of the concentrations
    grades          (rows, columns) uint8 at GRADES_MPP: 0 glass, else index into GRADES + 1
    label           index into GRADES of the most malignant grade
    seed, size_um, top_share  what it was grown from
    """

    concentrations: FloatArray
    mpp: float
    grades: NDArray[np.uint8]
    label: int
    seed: int
    size_um: tuple[int, int]
    top_share: tuple[float, float] | None = None

    def shape_at(self, mpp: float) -> tuple[int, int]:
        """(rows, columns) of the whole at another resolution."""
        width, height = self.size_um
        return round(height / mpp), round(width / mpp)


GRADES_MPP = 1.0  # of Tissue.grades
BAND_ROWS = 256  # painted at a time, so that memory stays small
MIN_SIZE_UM = 600
SHARE = (0.05, 0.5)  # of the tissue that the most malignant grade covers, if nothing is said
MAX_TOP_SHARE = 0.7  # leaves room for the milder grades
MAX_PLANS = 40


def simulate_tissue(
    seed: int,
    label: int,
    *,
    size_um: tuple[int, int] = (1600, 1500),
    mpp: float = 0.5,
    top_share: tuple[float, float] | None = None,
) -> Tissue:
    """Grow a piece of tissue whose most malignant grade is label.

    seed       same seed, same tissue, to the last bit
    label      index into GRADES
    size_um    (width, height) of tissue and glass around it
    top_share  of the tissue, at least and at most, that is of the label's grade; None: SHARE
    Raises ConfigError where size_um is too small to hold glands of every grade, or so few of one.
    """
    if not 0 <= label < len(GRADES):
        raise ConfigError(f"label {label} is not an index into {GRADES}")
    if min(size_um) < MIN_SIZE_UM:
        raise ConfigError(f"size_um is {size_um}. Use at least {MIN_SIZE_UM} um a side")
    if top_share and not 0 < top_share[0] <= top_share[1] <= MAX_TOP_SHARE:
        raise ConfigError(f"top_share is {top_share}. Use two shares up to {MAX_TOP_SHARE}")
    rng = np.random.default_rng([seed, label])
    plan = plan_as_promised(rng, size_um, label, top_share)
    concentrations = paint_ground(rng, plan, mpp)
    for cells in place_cells(rng, plan):
        paint_cells(concentrations, cells, mpp, rng)
    finish(rng, concentrations, plan, mpp)
    return Tissue(concentrations, mpp, plan.grades, label, seed, size_um, top_share)


def plan_as_promised(
    rng: np.random.Generator,
    size_um: tuple[int, int],
    label: int,
    top_share: tuple[float, float] | None = None,
) -> Anatomy:
    """The first plan drawn in which the label's grade covers the share promised; None: SHARE."""
    low, high = top_share or SHARE
    for _ in range(MAX_PLANS):
        plan = plan_tissue(rng, (size_um[1], size_um[0]), label, top_share or WISHED_SHARE)
        share = np.count_nonzero(plan.is_grade(label)) / np.count_nonzero(plan.grades)
        if label == 0 or low <= share <= high:
            return plan
    raise ConfigError(
        f"no tissue of {size_um} um with {low:g} to {high:g} of {GRADES[label]} found. "
        "Ask for a larger one"
    )


def paint_ground(rng: np.random.Generator, plan: Anatomy, mpp: float) -> FloatArray:
    """Everything but cells: stroma with its fibres, cytoplasm, lumens; (rows, columns, 2).

    Fills are made in the plan plane; only edges need the full resolution.
    """
    fills = paint_fills(rng, plan)
    rows, columns = (round(n * GRADES_MPP / mpp) for n in plan.grades.shape)
    ground = np.empty((rows, columns, 2), np.float32)
    for start in range(0, rows, BAND_ROWS):
        band = slice(start, min(start + BAND_ROWS, rows))
        here = resample(fills[0], GRADES_MPP, mpp, band)
        for fill, distance_um in ((fills[1], plan.depth_um), (fills[2], plan.lumen_um)):
            edge = resample(distance_um, GRADES_MPP, mpp, band)
            cover = np.clip(edge * (0.5 / mpp) + 0.5, 0, 1)[..., None]
            here += cover * (resample(fill, GRADES_MPP, mpp, band) - here)
        ground[band] = here
    return ground


def paint_fills(rng: np.random.Generator, plan: Anatomy) -> tuple[FloatArray, ...]:
    """What stroma, glands and lumens would look like if each were everywhere, in the plan plane."""
    shape = plan.grades.shape
    levels = np.stack([CYTOPLASM_HAEMATOXYLIN, CYTOPLASM_EOSIN, STROMA_EOSIN], 1)
    by_grade = blur(levels.astype(np.float32)[np.maximum(plan.grades, 1) - 1], 5)
    grain = 1 + 0.12 * smooth_noise(rng, shape, 2.5) + 0.12 * smooth_noise(rng, shape, 8)
    malignant = blur(plan.is_grade(CARCINOMA).astype(np.float32), 6)
    necrosis = ramp(malignant + 0.3 * smooth_noise(rng, shape, 90), 0.5, 1.2)
    necrosis *= grain * ramp(plan.lumen_um, 2.0, 6.0)
    membrane = 0.18 * np.exp(-np.square((plan.depth_um + 0.8) / 1.3))
    rim = 0.22 * np.exp(-np.square((plan.lumen_um + 0.3) / 1.5)) * (plan.depth_um > 0)
    stroma = np.stack([0.07 * grain, by_grade[..., 2] * fibres(rng, plan) + membrane], 2)
    cytoplasm = np.stack([by_grade[..., 0] * grain, by_grade[..., 1] * grain + rim], 2)
    content = np.stack([0.01 + 0.18 * necrosis, 0.02 + 0.6 * necrosis], 2)
    return stroma, cytoplasm, content


def fibres(rng: np.random.Generator, plan: Anatomy) -> FloatArray:
    """Eosin of collagen in the plan plane, about 1 on average: wavy strands along the glands.

    Strands are one flat texture of streaks, looked up across by the distance from the glands.
    """
    shape = plan.grades.shape
    streaks = smooth_noise(rng, (512, 512), 2.2)
    wander = 7.0 * smooth_noise(rng, shape, 60) + 2.0 * smooth_noise(rng, shape, 13)
    across = 300 + 0.75 * (plan.depth_um + wander)
    y, x = np.indices(shape, dtype=np.float32)
    along = 0.09 * (x + y) + 2.0 * smooth_noise(rng, shape, 50)
    strands = cv2.remap(streaks, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    loose = np.clip(0.9 + 0.22 * smooth_noise(rng, shape, 18), 0.35, 1.5)
    loose += plan.lymphoid * (0.6 - loose)
    strength = np.clip(0.30 + 0.10 * smooth_noise(rng, shape, 30), 0.05, 0.6)
    strength *= 1 - 0.7 * plan.lymphoid
    return np.asarray(np.maximum(loose + strength * strands, 0.06), np.float32)


def finish(rng: np.random.Generator, concentrations: FloatArray, plan: Anatomy, mpp: float) -> None:
    """Uneven section thickness, fine grain and the ragged edge of the tissue, in place."""
    rows, columns = concentrations.shape[:2]
    shape = plan.grades.shape
    ragged = 1.5 * np.clip(smooth_noise(rng, shape, 6), -2, 2)
    ragged = ramp(plan.outline_um + ragged, -1.0, 1.5)
    thickness = ragged * np.maximum(1 + 0.10 * smooth_noise(rng, shape, 350), 0)
    speckle = 1 + 0.05 * rng.standard_normal((BAND_ROWS, 1024), dtype=np.float32)
    speckle = np.tile(speckle, -(-columns // 1024))[:, :columns]
    for start in range(0, rows, BAND_ROWS):
        here = concentrations[start : start + BAND_ROWS]
        band = slice(start, start + len(here))
        factor = resample(thickness, GRADES_MPP, mpp, band) * speckle[: len(here)]
        here *= factor[..., None]
        np.maximum(here, 0, out=here)


def resample(
    concentrations: FloatArray, mpp: float, new_mpp: float, rows: slice | None = None
) -> FloatArray:
    """Concentrations, or any map, at another resolution: all of it or a band of the new rows.

    A band equals the same rows of the whole, so a large slide can be rendered piece by piece.
    """
    new_rows, new_columns = (round(n * mpp / new_mpp) for n in concentrations.shape[:2])
    start, stop, _ = (rows or slice(None)).indices(new_rows)
    if new_mpp == mpp:
        return concentrations[start:stop]
    step = new_mpp / mpp
    shift = 0.5 * step - 0.5
    look = np.array([[step, 0, shift], [0, step, shift + step * start]])
    band = cv2.warpAffine(
        concentrations,
        look,
        (new_columns, stop - start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(band, np.float32)
