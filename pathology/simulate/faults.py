"""Faults planted on purpose, so that what should notice them can be tried."""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.simulate.centre import to_uint8
from pathology.simulate.noise import FloatArray, blur, resize, smooth_noise

Fault = Literal["no_mpp", "truncated", "pen_ink", "out_of_focus"]
FAULTS: tuple[Fault, ...] = ("no_mpp", "truncated", "pen_ink", "out_of_focus")
MASK_MPP = 4.0  # fault masks are made at this resolution
INKS = {  # fraction of light let through, R G B
    "green": (0.10, 0.55, 0.25),
    "blue": (0.10, 0.22, 0.68),
    "black": (0.08, 0.08, 0.09),
}


def ink_strokes(rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, FloatArray]:
    """Coverage, 0 to 1, of one curved pen stroke in each ink; shape is in mask pixels."""
    rows, columns = shape
    strokes = {}
    for ink in INKS:
        canvas = np.zeros(shape, np.float32)
        ends = rng.uniform(0.15, 0.85, (2, 2)) * (columns, rows)
        middle = ends.mean(axis=0) + rng.normal(0, 0.2, 2) * (columns, rows)
        t = np.linspace(0, 1, 40)[:, None]
        curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * middle + t**2 * ends[1]
        width = max(3, round(rng.uniform(0.04, 0.06) * rows))
        cv2.polylines(canvas, [curve.round().astype(np.int32)], False, 1.0, width, cv2.LINE_AA)
        wash = 0.86 + 0.08 * smooth_noise(rng, shape, 3) + 0.06 * smooth_noise(rng, shape, 15)
        strokes[ink] = blur(canvas, 0.8) * np.clip(wash, 0.6, 1)
    return strokes


def add_pen_ink(
    rgb: NDArray[np.uint8], rng: np.random.Generator, mpp: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The image under green, blue and black pen, and where the pen went, at MASK_MPP."""
    rows, columns = rgb.shape[:2]
    shape = mask_shape(rgb, mpp)
    passed = np.ones((*shape, 3), np.float32)
    strokes = ink_strokes(rng, shape)
    for ink, coverage in strokes.items():
        passed *= 1 - coverage[..., None] * (1 - np.asarray(INKS[ink], np.float32))
    marked = np.asarray(np.max(np.stack(list(strokes.values())), axis=0) > 0.3)
    inked = rgb.copy()
    for channel in range(3):  # one at a time, so that memory stays small
        light = resize(passed[..., channel], (columns, rows))
        inked[..., channel] = to_uint8(light * rgb[..., channel].astype(np.float32))
    return inked, marked


def add_defocus(
    rgb: NDArray[np.uint8], rng: np.random.Generator, mpp: float, sigma_um: float = 4.0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The image with one large round area out of focus, and where that is, at MASK_MPP."""
    rows, columns = rgb.shape[:2]
    shape = mask_shape(rgb, mpp)
    x, y = rng.uniform(0.35, 0.65, 2) * (shape[1], shape[0])
    canvas = np.zeros(shape, np.float32)
    cv2.circle(canvas, (round(x), round(y)), round(0.24 * min(shape)), 1.0, -1)
    soft = blur(canvas, 0.03 * min(shape))
    weight = resize(soft, (columns, rows))
    box = cv2.boundingRect((weight > 0.002).astype(np.uint8))
    here = np.s_[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
    sharp = rgb[here].astype(np.float32)
    hazy = blur(sharp, sigma_um / mpp)
    out = rgb.copy()
    out[here] = to_uint8(sharp + weight[here][..., None] * (hazy - sharp))
    return out, soft > 0.5


def mask_shape(rgb: NDArray[np.uint8], mpp: float) -> tuple[int, int]:
    """(rows, columns) of a fault mask that covers the image."""
    rows, columns = (max(1, round(n * mpp / MASK_MPP)) for n in rgb.shape[:2])
    return rows, columns


def truncate(path: Path, kept: float = 0.4) -> None:
    """Cut a file off after a fraction of its bytes, as a broken copy would be."""
    with path.open("r+b") as stream:
        stream.truncate(int(path.stat().st_size * kept))
