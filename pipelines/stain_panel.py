"""A picture of a few tiles as a training sees them: always the same ones, to be compared."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from pathology.core.artifact import publish
from pathology.stain.cycle_step import CycleStep, bare, is_source_told, told
from pathology.stain.matrix import Pixels
from pathology.stain.tensors import from_tensor, to_tensor
from pipelines.stain_domains import StyledTiles

NUM_TILES, EDGE_PX, GAP_PX, HEAD_PX = 6, 192, 6, 26
COLUMNS = ("source", "as target", "and back", "target", "as source", "and back")


@torch.no_grad()
def draw_panel(path: Path, update: CycleStep, source: StyledTiles, target: StyledTiles) -> None:
    """Rows of tiles: a source, as target, and back; a target, in that source's style, and back."""
    random = np.random.default_rng(0)
    rows = source.pool.choose(random, NUM_TILES)
    target_rows = target.pool.choose(random, NUM_TILES)
    source_tiles = _middle(source.pool.tiles_NHW3[rows])
    target_tiles = _middle(target.pool.tiles_NHW3[target_rows])
    device = next(update.averaged.parameters()).device
    own = source.slide_NS[rows].to(device)
    style = own if is_source_told(update.config) else source.tile_NS[rows].to(device)
    as_target = told(update.averaged, to_tensor(source_tiles, device), own)
    to_source = bare(update.networks["to_source"])  # one process draws: no exchange with others
    back = told(to_source, as_target, style)
    as_source = told(to_source, to_tensor(target_tiles, device), style)
    home = told(update.averaged, as_source, style)
    columns = [source_tiles, from_tensor(as_target), from_tensor(back), target_tiles,
               from_tensor(as_source), from_tensor(home)]  # fmt: skip
    picture = _sheet(columns)
    with publish(path) as scratch:
        done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        scratch.write_bytes(data.tobytes() if done else b"")


def _middle(tiles_NHW3: Pixels) -> Pixels:
    edge = min(EDGE_PX, *tiles_NHW3.shape[1:3])
    edge -= edge % 16
    top, left = (tiles_NHW3.shape[1] - edge) // 2, (tiles_NHW3.shape[2] - edge) // 2
    return np.ascontiguousarray(tiles_NHW3[:, top : top + edge, left : left + edge])


def _sheet(columns: list[Pixels]) -> Pixels:
    edge = columns[0].shape[1]
    step = edge + GAP_PX
    height, width = 2 * HEAD_PX + NUM_TILES * step, len(columns) * step
    sheet = np.full((height, width, 3), 255, np.uint8)
    _write(sheet, "research use only", (4, 18))
    for number, (name, tiles) in enumerate(zip(COLUMNS, columns, strict=True)):
        _write(sheet, name, (number * step + 4, HEAD_PX + 18))
        for row, tile in enumerate(tiles):
            top, left = 2 * HEAD_PX + row * step, number * step
            sheet[top : top + edge, left : left + edge] = tile
    return sheet


def _write(sheet: Pixels, text: str, at: tuple[int, int]) -> None:
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (31, 41, 51), 1, cv2.LINE_AA)
