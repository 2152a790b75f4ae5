"""What is drawn over a frame: heat of grades, the field's grade, scale bar, latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.inference.field_grade import FieldGrade
from pathology.inference.lettering import WHITE, Color, put_text
from pathology.slides.reader import Pixels

NOTICE = "RESEARCH USE ONLY"
HEAT_SHARE = 0.34
BENIGN, MIDDLE, MALIGNANT = (38, 166, 154), (255, 193, 7), (216, 27, 96)
GREY: Color = (190, 190, 190)
AMBER: Color = (255, 193, 7)
SCALE_STEPS = (1, 2, 5)
OUTLINED: dict[str, Color] = {
    "blurred": (150, 150, 150), "unlike": (171, 71, 188), "ink": (60, 60, 60), "black": (60, 60, 60)
}  # fmt: skip


@dataclass(frozen=True)
class Stated:
    """What is written beside the grade.

    latency_ms  from capture until the frame before this one was drawn over
    fps         frames a second by now
    note        e.g. that the microscope is simulated
    """

    latency_ms: float
    fps: float
    num_dropped: int
    note: str = ""


def severity_colors() -> NDArray[np.uint8]:
    """Colors (256, 3) from the mildest grade to the most malignant."""
    stops = np.array([BENIGN, MIDDLE, MALIGNANT], np.float64)
    at = np.linspace(0, 2, 256)
    return np.stack([np.interp(at, range(3), stops[:, c]) for c in range(3)], 1).astype(np.uint8)


COLORS = severity_colors()


def severity(probability_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean grade (N,) from 0, surely the first, to 1, surely the last.

    >>> severity(np.array([[0.0, 0.0, 1.0], [0.5, 0.0, 0.5]])).tolist()
    [1.0, 0.5]
    """
    num = probability_NC.shape[1]
    return np.asarray(probability_NC @ (np.arange(num) / max(1, num - 1)), np.float64)


def draw_overlay(
    pixels: Pixels, found: FieldGrade, grades: Sequence[str], stated: Stated
) -> Pixels:
    """A new picture (H, W, 3) of the frame with all that is said of it."""
    canvas = with_heat(pixels, found)
    for (x, y), state in zip(found.xy.tolist(), found.states, strict=True):
        if state in OUTLINED:
            end = round(x + found.edge) - 3, round(y + found.edge) - 3
            cv2.rectangle(canvas, (x + 2, y + 2), end, OUTLINED[state], 2, cv2.LINE_AA)
    size = letter_px(canvas)
    margin = size // 2
    height, width = canvas.shape[:2]
    notice = f"{NOTICE}  ·  {stated.note}" if stated.note else NOTICE
    _, line = put_text(canvas, notice, (margin, margin), size)
    text, color = headline(found, grades)
    put_text(canvas, text, (margin, margin + line), round(size * 1.5), color)
    drop = f", {stated.num_dropped} dropped" if stated.num_dropped else ""
    facts = f"{stated.latency_ms:.0f} ms, {stated.fps:.1f} frames/s{drop}"
    put_text(canvas, facts, (width - margin, height - margin), size, anchor="rb")
    draw_scale_bar(canvas, found.mpp)
    return canvas


def blank_picture(text: str, size: tuple[int, int] = (960, 540)) -> Pixels:
    """A dark picture of (width, height) with a line of text, where there is no frame."""
    canvas = np.full((size[1], size[0], 3), 24, np.uint8)
    _, line = put_text(canvas, NOTICE, (8, 8), 16)
    put_text(canvas, text, (8, 8 + line), 16, AMBER)
    return canvas


def with_heat(pixels: Pixels, found: FieldGrade) -> Pixels:
    """A new picture, tinted where tiles have a grade; where they overlap, by their mean."""
    canvas = pixels.copy()
    rows = [row for row, state in enumerate(found.states) if state == "graded"]
    if not rows:
        return canvas
    paint = np.empty_like(canvas)
    value_N = severity(found.probability_NC[rows])
    low = found.xy[rows]
    high = np.minimum(np.rint(low + found.edge).astype(np.int64), pixels.shape[1::-1])
    x, y = (np.unique(np.concatenate([low[:, i], high[:, i]])).tolist() for i in (0, 1))
    for top, bottom in pairwise(y):  # each cell between the tiles' edges is of one color
        for left, right in pairwise(x):
            here = ((low <= (left, top)) & (high >= (right, bottom))).all(axis=1)
            if here.any():
                color = COLORS[round(float(value_N[here].mean()) * 255)].tolist()
                cv2.rectangle(paint, (left, top), (right - 1, bottom - 1), color, -1)
                part = canvas[top:bottom, left:right]
                tint = paint[top:bottom, left:right]
                cv2.addWeighted(part, 1 - HEAT_SHARE, tint, HEAT_SHARE, 0, dst=part)
    return canvas


def headline(found: FieldGrade, grades: Sequence[str]) -> tuple[str, Color]:
    """The field's grade and how probable it is, or why there is none; and its color."""
    if found.verdict == "graded":
        place = found.grade / max(1, len(grades) - 1)
        red, green, blue = COLORS[round(place * 255)].tolist()
        missing = found.num_tissue - found.num_graded
        part = f"  ({found.num_graded} of {found.num_tissue} tiles)" if missing else ""
        return f"{grades[found.grade]}  {found.how_probable}{part}", (red, green, blue)
    said = {
        "glass": "glass only",
        "out of focus": "out of focus",
        "out of distribution": "unlike what the model was taught on",
        "waiting": found.reason or "grading",
    }[found.verdict]
    return f"not graded: {said}", GREY if found.verdict == "glass" else AMBER


def scale_bar(width_px: int, mpp: float) -> tuple[int, float]:
    """Length of a bar of about a sixth of the width, in pixels and in um, a round number.

    >>> scale_bar(1200, 0.5)
    (200, 100.0)
    """
    longest = width_px / 6 * mpp
    decade = 10.0 ** math.floor(math.log10(longest))
    length = max(step * decade for step in SCALE_STEPS if step * decade <= longest)
    return round(length / mpp), length


def draw_scale_bar(canvas: Pixels, mpp: float) -> None:
    """In the lower left corner, in place."""
    size = letter_px(canvas)
    length_px, length_um = scale_bar(canvas.shape[1], mpp)
    x, y = size, canvas.shape[0] - size
    text = f"{length_um:g} um" if length_um < 1000 else f"{length_um / 1000:g} mm"
    thick = max(2, size // 5)
    put_text(canvas, text, (x - size // 2, y - thick - size // 3), size, anchor="lb")
    cv2.rectangle(canvas, (x - 2, y - thick - 2), (x + length_px + 2, y + 2), (0, 0, 0), -1)
    cv2.rectangle(canvas, (x, y - thick), (x + length_px, y), WHITE, -1)


def letter_px(canvas: Pixels) -> int:
    """Height of letters that suits a canvas."""
    return max(11, round(int(canvas.shape[0]) / 42))
