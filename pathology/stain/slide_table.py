"""A slide's own table of colors, from the student and what the teacher makes of its tiles.

The student knows colors in general. On the colors that a slide really has, its table is
corrected towards what the teacher makes of that slide's tiles on average.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathology.stain.matrix import Pixels
from pathology.stain.networks import kernel_of
from pathology.stain.sharp_table import Grid, apply_kernel
from pathology.stain.student import StainStudent
from pathology.stain.tensors import paint

PRIOR_PIXELS = 10.0  # the student's word counts as much as that of so many pixels
ROUNDS = 4
CROP_PX = 24  # of each sample tile, that the teacher is asked about; pixels near an edge are not


def student_grid(student: StainStudent, points: int, style_S: Tensor | None = None) -> Grid:
    """The student's change of color on an even grid of all colors, for a slide of that style."""
    style = None if style_S is None else style_S[None]
    level = torch.linspace(-1, 1, points)
    colors_P3 = torch.cartesian_prod(level, level, level)
    with torch.no_grad():
        painted: Tensor = student.paint(colors_P3.T[None, :, :, None], style)[0, :, :, 0].T
    values = (painted.reshape(points, points, points, 3) + 1) * 127.5
    return np.asarray(values.numpy(), np.float32)


def fit_grid(
    teacher: nn.Module,
    student: StainStudent,
    sample_NHW3: Pixels,
    points: int,
    max_pixels: int,
    device: str = "cpu",
    style_S: Tensor | None = None,
) -> Grid:
    """The student's grid, corrected on the colors of a slide's sample tiles (N, H, W, 3).

    max_pixels  of the sample that are looked at
    style_S     of the slide, where networks are told it
    """
    grid = student_grid(student, points, style_S)
    if not len(sample_NHW3):
        return grid
    kernel = kernel_of(student)
    multiple_px = int(getattr(teacher, "multiple_px", 1))
    margin = int(getattr(teacher, "margin_px", len(kernel) // 2))
    pieces = _middles(sample_NHW3, CROP_PX + 2 * margin)
    seen = (min(margin, edge // 4) for edge in pieces.shape[1:3])  # of small tiles what there is
    inner = tuple(slice(part, -part or None) for part in seen)
    step = max(1, int(np.ceil(np.sqrt(len(pieces) * CROP_PX**2 / max_pixels))))
    colors, wanted = [], []
    painted = paint(teacher, pieces, multiple_px, device, style_S)
    for piece, made in zip(pieces, painted, strict=True):
        colors.append(apply_kernel(piece, kernel)[inner][::step, ::step].reshape(-1, 3))
        wanted.append(made[inner][::step, ::step].reshape(-1, 3))
    return _corrected(grid, np.concatenate(colors), np.concatenate(wanted))


def _middles(tiles_NHW3: Pixels, edge: int) -> Pixels:
    """The middle of each tile, edge x edge or as much as there is."""
    height, width = tiles_NHW3.shape[1:3]
    top, left = max(0, (height - edge) // 2), max(0, (width - edge) // 2)
    return tiles_NHW3[:, top : top + edge, left : left + edge]


def _corrected(grid: Grid, colors_N3: Pixels, wanted_N3: Pixels) -> Grid:
    """The grid moved towards the wanted colors where there are pixels, by smoothed residuals."""
    points = len(grid)
    corner_N8, weight_N8 = _corners(colors_N3, points)
    corrected = grid.reshape(-1, 3).astype(np.float64)
    mass = np.bincount(corner_N8.ravel(), weight_N8.ravel(), points**3)
    for _ in range(ROUNDS):
        made = np.einsum("nk,nkc->nc", weight_N8, corrected[corner_N8])
        rest = wanted_N3 - made
        for channel in range(3):
            weighted = (weight_N8 * rest[:, channel, None]).ravel()
            total = np.bincount(corner_N8.ravel(), weighted, points**3)
            corrected[:, channel] += total / (mass + PRIOR_PIXELS)
    return corrected.reshape(grid.shape).astype(np.float32)


def _corners(colors_N3: Pixels, points: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The eight grid points around each color, (N, 8), and their trilinear weights (N, 8)."""
    place = colors_N3 * ((points - 1) / 255)
    low = np.minimum(place.astype(np.int64), points - 2)
    part = place - low
    corners, weights = [], []
    for red, green, blue in np.ndindex(2, 2, 2):
        r, g, b = low[:, 0] + red, low[:, 1] + green, low[:, 2] + blue
        corners.append((r * points + g) * points + b)
        sides = np.where([red, green, blue], part, 1 - part)
        weights.append(sides.prod(axis=1))
    return np.stack(corners, axis=1), np.stack(weights, axis=1)
