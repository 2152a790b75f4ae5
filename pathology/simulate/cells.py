"""Painting many small elliptic things at once: nuclei, goblet vacuoles, red blood cells."""

import math
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pathology.simulate.noise import FloatArray, blur

BATCH_PX = 1 << 20  # window pixels drawn at a time, so that memory stays small
GRAIN_PX = 256  # edge of the chromatin texture
WINDOWS_PX = (0, 8, 10, 12, 14, 16, 18, 21, 25, 32, 45, 64, 90)  # half edges of the windows


@dataclass(frozen=True)
class Cells:
    """N elliptic things; every array has N rows.

    xy_um      (N, 2) centers, x and y
    semi_um    (N, 2) half axes, the first along the angle
    angle      radians
    stain      (N, 2) concentrations of haematoxylin and eosin inside
    opacity    0 to 1, how much of what lies below is replaced
    bumps      0 for an ellipse, up to 0.5 for a misshapen one
    clearing   0 evenly filled, 1 pale inside with a dark rim
    nucleolus  added haematoxylin of one dot
    """

    xy_um: FloatArray
    semi_um: FloatArray
    angle: FloatArray
    stain: FloatArray
    opacity: FloatArray
    bumps: FloatArray
    clearing: FloatArray
    nucleolus: FloatArray

    def __len__(self) -> int:
        return len(self.xy_um)

    def __getitem__(self, rows: slice | NDArray[np.generic]) -> "Cells":
        return Cells(*(getattr(self, f.name)[rows] for f in fields(self)))


def make_cells(
    rng: np.random.Generator,
    xy_um: FloatArray,
    angle: FloatArray | None = None,
    *,
    wobble: float = 0.0,
    semi_um: tuple[float, float],
    stain: tuple[float, float],
    spread: float,
    opacity: float = 0.92,
    bumps: float = 0.08,
    clearing: float = 0.2,
    nucleolus: float = 0.0,
) -> Cells:
    """Cells of one kind at xy_um, their sizes log-normal about semi_um with deviation spread.

    angle   radians, give or take wobble; None turns every cell its own way
    """
    num = len(xy_um)
    if angle is None:
        angle = rng.uniform(0, math.pi, num).astype(np.float32)
    draw = rng.standard_normal((num, 8), dtype=np.float32)
    size = np.exp(np.float32(spread) * np.clip(draw[:, :1], -2, 2))
    aspect = np.exp(np.float32(spread * 0.5) * np.stack([draw[:, 1], -draw[:, 1]], 1))
    amount = np.exp(0.12 * np.clip(draw[:, 2:3], -2, 2))
    return Cells(
        xy_um=xy_um.astype(np.float32),
        semi_um=np.asarray(semi_um, np.float32) * size * np.clip(aspect, 0.6, 1.7),
        angle=(angle + np.float32(wobble) * draw[:, 6]).astype(np.float32),
        stain=(np.asarray(stain, np.float32) * amount).astype(np.float32),
        opacity=np.full(num, opacity, np.float32),
        bumps=np.clip(np.float32(bumps) * draw[:, 3], -0.5, 0.5),
        clearing=np.clip(np.float32(clearing) * (1 + 0.4 * draw[:, 4]), 0, 0.9),
        nucleolus=np.float32(nucleolus) * np.maximum(draw[:, 5], 0),
    )


def chromatin_grain(rng: np.random.Generator) -> FloatArray:
    """A square of clumpy texture, zero mean and unit deviation, that nuclei take pieces of."""
    grain = blur(rng.standard_normal((GRAIN_PX, GRAIN_PX), dtype=np.float32), 1.1)
    return np.asarray(grain / grain.std(), np.float32)


def paint_cells(
    concentrations: FloatArray, cells: Cells, mpp: float, rng: np.random.Generator
) -> None:
    """Draw cells over concentrations (rows, columns, 2), in place, in the order given.

    Cells whose window does not fit inside, or that are larger than any window, are left out.
    """
    grain = chromatin_grain(rng)
    offsets = rng.integers(0, GRAIN_PX, (len(cells), 2))
    reach = cells.semi_um.max(axis=1, initial=0) * (1.1 + 0.5 * np.abs(cells.bumps)) / mpp + 2
    for low, high in pairwise(WINDOWS_PX):
        chosen = np.flatnonzero((reach >= low) & (reach < high))
        batch = BATCH_PX // (2 * high) ** 2
        for start in range(0, len(chosen), batch):
            rows = chosen[start : start + batch]
            _paint_batch(concentrations, cells[rows], mpp, high, (grain, offsets[rows]))


def _paint_batch(
    concentrations: FloatArray,
    cells: Cells,
    mpp: float,
    half: int,
    texture: tuple[FloatArray, NDArray[np.int64]],
) -> None:
    """Draw cells that all fit a window of half pixels around their center."""
    center = cells.xy_um / np.float32(mpp)
    corner = np.floor(center).astype(np.int64) - half
    limit = np.array(concentrations.shape[1::-1]) - 2 * half
    fits = ((corner >= 0) & (corner <= limit)).all(axis=1)
    cells, center, corner = cells[fits], center[fits], corner[fits]
    window = np.arange(2 * half)
    dx = (corner[:, :1] + window - center[:, :1]).astype(np.float32)[:, None, :]
    dy = (corner[:, 1:] + window - center[:, 1:]).astype(np.float32)[:, :, None]
    grain, offsets = texture
    y = (offsets[fits, 1:] + window) % GRAIN_PX
    x = (offsets[fits, :1] + window) % GRAIN_PX
    alpha, haematoxylin = draw_windows(cells, mpp, dx, dy, grain[y[:, :, None], x[:, None, :]])
    added = np.stack([haematoxylin * alpha, cells.stain[:, 1, None, None] * alpha], axis=-1)
    kept = np.repeat(1 - alpha[..., None], 2, axis=-1)
    for i, (left, top) in enumerate(corner.tolist()):
        here = concentrations[top : top + 2 * half, left : left + 2 * half]
        here *= kept[i]
        here += added[i]


def draw_windows(
    cells: Cells, mpp: float, dx_px: FloatArray, dy_px: FloatArray, grain: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Opacity and haematoxylin of each cell in its own window, both (N, rows, columns).

    dx_px, dy_px  (N, 1, columns) and (N, rows, 1) offsets from the cell's center
    grain         (N, rows, columns) chromatin texture
    """

    def column(values: FloatArray) -> FloatArray:
        return values[:, None, None]

    cos, sin = column(np.cos(cells.angle)), column(np.sin(cells.angle))
    semi_px = cells.semi_um / np.float32(mpp)
    u = (dx_px * cos + dy_px * sin) / column(semi_px[:, 0])
    v = (dy_px * cos - dx_px * sin) / column(semi_px[:, 1])
    radius = np.sqrt(u * u + v * v)
    near = np.minimum(radius, 2)
    bumps = column(cells.bumps) * (u * v + 0.6 * u * (u * u - 3 * v * v) / (1 + near))
    radius = radius + np.clip(bumps, -0.35, 0.35) * near
    edge_px = column(semi_px.min(axis=1))
    alpha = np.clip((1 - radius) * edge_px + np.float32(0.5), 0, 1) * column(cells.opacity)
    inner = np.clip(1 - radius * radius, 0, 1)
    filling = 1 - column(cells.clearing) * inner + (0.06 + 0.2 * column(cells.clearing)) * grain
    haematoxylin = column(cells.stain[:, 0]) * np.clip(filling, 0.15, 1.6)
    dot = np.exp(-8 * ((u - 0.25) ** 2 + (v + 0.15) ** 2))
    haematoxylin += column(cells.nucleolus) * dot
    return alpha, haematoxylin
