"""A slide's own table of colours, from the student and what the teacher makes of its tiles.

The student knows colours in general. On the colours that a slide really has, its table is
corrected towards what the teacher makes of that slide's tiles on average.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathology.stain.matrix import Pixels
from pathology.stain.networks import kernel_of
from pathology.stain.student import StainStudent
from pathology.stain.tensors import from_tensor, to_tensor

Grid = NDArray[np.float32]  # (P, P, P, 3) by red, green, blue; 8-bit values that may pass 0 or 255
PRIOR_PIXELS = 20.0  # the student's word counts as much as that of so many pixels
ROUNDS = 4


def student_grid(student: StainStudent, points: int) -> Grid:
    """The student's change of colour on an even grid of all colours."""
    level = torch.linspace(-1, 1, points)
    colors_P3 = torch.cartesian_prod(level, level, level)
    with torch.no_grad():
        painted: Tensor = student.paint(colors_P3.T[None, :, :, None])[0, :, :, 0].T
    values = (painted.reshape(points, points, points, 3) + 1) * 127.5
    return np.asarray(values.numpy(), np.float32)


def fit_grid(
    teacher: nn.Module, student: StainStudent, sample_NHW3: Pixels, points: int, max_pixels: int
) -> Grid:
    """The student's grid, corrected on the colours of a slide's sample tiles (N, H, W, 3).

    max_pixels  of the sample that are looked at
    """
    grid = student_grid(student, points)
    if not len(sample_NHW3):
        return grid
    kernel = kernel_of(student)
    colors, wanted = [], []
    step = max(1, int(np.ceil(np.sqrt(sample_NHW3[..., 0].size / max_pixels))))
    for tile in sample_NHW3:
        with torch.no_grad():
            painted = teacher(to_tensor(tile[np.newaxis])).clamp(-1, 1)
        colors.append(apply_kernel(tile, kernel)[::step, ::step].reshape(-1, 3))
        wanted.append(from_tensor(painted)[0, ::step, ::step].reshape(-1, 3))
    return _corrected(grid, np.concatenate(colors), np.concatenate(wanted))


def apply_kernel(pixels: Pixels, kernel: NDArray[np.float32]) -> Pixels:
    """Pixels (H, W, 3) blurred or sharpened by a kernel of one direction, applied in both."""
    if len(kernel) == 1:
        return pixels
    return np.asarray(
        cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101), np.uint8
    )


def all_colors(grid: Grid) -> Pixels:
    """The grid drawn out to all colours, (256, 256, 256, 3), linear in between its points."""
    weights = _weights(len(grid))
    greens = np.einsum("gp,rpbc->rgbc", weights, grid)
    reds = np.einsum("rp,pgbc->rgbc", weights, greens)
    table = np.empty((256, 256, 256, 3), np.uint8)
    for red, plane_GPC in enumerate(reds):
        whole = np.matmul(weights, plane_GPC)
        table[red] = np.clip(np.rint(whole), 0, 255)
    return table


def _weights(points: int) -> NDArray[np.float32]:
    """How much each grid point counts for each 8-bit level, (256, points)."""
    place = np.linspace(0, points - 1, 256)
    apart = np.abs(place[:, None] - np.arange(points)[None])
    return np.asarray(np.maximum(0, 1 - apart), np.float32)


def _corrected(grid: Grid, colors_N3: Pixels, wanted_N3: Pixels) -> Grid:
    """The grid moved towards the wanted colours where there are pixels, by smoothed residuals."""
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
    """The eight grid points around each colour, (N, 8), and their trilinear weights (N, 8)."""
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
