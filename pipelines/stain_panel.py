"""A picture of a few tiles as a training sees them: always the same ones, to be compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pathology.core.artifact import publish
from pathology.data.tile_pool import TilePool
from pathology.stain.cycle_step import CycleStep, bare, is_source_told, told
from pathology.stain.matrix import Pixels
from pathology.stain.tensors import from_tensor, to_tensor
from pipelines.stain_domains import StyledTiles

NUM_TILES, EDGE_PX, GAP_PX, HEAD_PX = 6, 192, 6, 26
DRAWS = 20  # for each tile that is shown, of which the first different ones are taken
COLUMNS = ("source", "as target", "and back", "target", "as source", "and back")


class Panels:
    """The pictures of one training in its folder: panel.png, the newest, and one for each step.

    is_new  whether the training begins: what another one left there is removed with the first
    """

    def __init__(self, folder: Path, *, is_new: bool) -> None:
        self.folder, self.is_new = folder, is_new

    def draw(self, step: int, update: CycleStep, source: StyledTiles, target: StyledTiles) -> None:
        """Write panels/000100.png, for step 100, and the same as panel.png."""
        if self.is_new:
            shutil.rmtree(self.folder / "panels", ignore_errors=True)
            self.is_new = False
        data = panel_of(update, source, target)
        for path in (self.folder / "panels" / f"{step:06d}.png", self.folder / "panel.png"):
            with publish(path) as scratch:
                scratch.write_bytes(data)


@torch.no_grad()
def panel_of(update: CycleStep, source: StyledTiles, target: StyledTiles) -> bytes:
    """A PNG of tiles: a source, as target, and back; a target, in that source's style, and back."""
    random = np.random.default_rng(0)
    num = min(NUM_TILES, len(source), len(target))
    rows, target_rows = (different(tiles.pool, random, num) for tiles in (source, target))
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
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def different(pool: TilePool, random: np.random.Generator, num: int) -> NDArray[np.int64]:
    """Rows of num tiles, none of them twice, drawn as training draws them where that finds enough.

    num  no more than the pool has
    """
    drawn = np.concatenate([pool.choose(random, DRAWS * num), random.permutation(len(pool))])
    _, first = np.unique(drawn, return_index=True)
    return drawn[np.sort(first)[:num]]


def _middle(tiles_NHW3: Pixels) -> Pixels:
    edge = min(EDGE_PX, *tiles_NHW3.shape[1:3])
    edge -= edge % 16
    top, left = (tiles_NHW3.shape[1] - edge) // 2, (tiles_NHW3.shape[2] - edge) // 2
    return np.ascontiguousarray(tiles_NHW3[:, top : top + edge, left : left + edge])


def _sheet(columns: list[Pixels]) -> Pixels:
    edge = columns[0].shape[1]
    step = edge + GAP_PX
    height, width = 2 * HEAD_PX + len(columns[0]) * step, len(columns) * step
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
