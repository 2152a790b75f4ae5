"""The tiles of labelled slides, numbered through, as training and scoring read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.core.artifact import publish
from pathology.core.errors import ArtifactError
from pathology.core.run_record import num_cores
from pathology.data.ahead import ahead
from pathology.data.tile_source import FeatureTiles, SlideTable, StoreTiles, TileSource
from pathology.interop.h5_features import read_augmented, read_features
from pathology.models.card import TileContract
from pathology.models.encode import to_images
from pathology.models.kept_maps import KeptMaps
from pipelines.weak_inputs import LabelledSlides, TiledSlide

PIXEL_BLOCK = 32  # tiles that are decoded and scored at once
DEVICE_BLOCK = 256  # the same on other devices than a CPU
BLOCKS_AHEAD = 4  # that are decoded meanwhile, at least
MOST_AHEAD = 16  # at most, where there are cores to decode them
ROW_BLOCK = 512  # features, or maps, at once


@dataclass(frozen=True, eq=False)
class NumberedTiles:
    """Slides in a given order, and their tiles."""

    slides: tuple[TiledSlide, ...]
    table: SlideTable
    source: FeatureTiles | StoreTiles
    is_pixels: bool

    def remove_files(self) -> None:
        """Remove the files that features were put into, when they are no longer needed."""
        if isinstance(self.source, FeatureTiles):
            self.source.remove_files()


def number_tiles(
    found: LabelledSlides,
    slides: Sequence[TiledSlide],
    cache: Path,
    num_train: int,
    *,
    is_first: bool = True,
) -> NumberedTiles:
    """The tiles of these slides, in this order.

    cache      file that features are put into one after the other, to be mapped
    num_train  slides, the first ones, that are trained on: of these alone varied tiles are drawn
    is_first   whether this process writes the files; the others find them
    Raises ArtifactError where features of varied tiles are no numbers.
    """
    table = SlideTable(
        tuple(slide.record.slide_id for slide in slides),
        np.array([found.grade(slide) for slide in slides], np.int64),
        np.array([slide.num_tiles for slide in slides], np.int64),
    )
    if found.kind == "pixels":
        stores = StoreTiles([slide.path for slide in slides], table.num_S)
        return NumberedTiles(tuple(slides), table, stores, is_pixels=True)
    train = slides[:num_train]
    num_augmented = min((slide.num_augmented for slide in train), default=0)
    augmented = cache.with_name(f"{cache.stem}_augmented.npy") if num_augmented else None
    if is_first:
        _write_features(cache, slides, found.tiles)
        if augmented is not None:
            _write_augmented(augmented, train, num_augmented, found.tiles.row_length)
    features = FeatureTiles(cache, augmented)
    return NumberedTiles(tuple(slides), table, features, is_pixels=False)


def _write_features(cache: Path, slides: Sequence[TiledSlide], tiles: TileContract) -> None:
    shape = (sum(slide.num_tiles for slide in slides), tiles.row_length)
    found = (read_features(slide.path).features_NF for slide in slides)
    kind = np.float16 if tiles.blocks_left else np.float32
    _write_array(cache, np.dtype(kind), shape, found)


def _write_augmented(
    cache: Path, slides: Sequence[TiledSlide], num_augmented: int, num_features: int
) -> None:
    """The same of the varied tiles, those of one tile beside each other."""
    shape = (sum(slide.num_tiles for slide in slides), num_augmented, num_features)
    found = (_read_augmented(s, num_augmented).transpose(1, 0, 2) for s in slides)
    _write_array(cache, np.dtype(np.float16), shape, found)


def _read_augmented(slide: TiledSlide, num_augmented: int) -> NDArray[np.float16]:
    """Features (K, N, F) of a slide's varied tiles."""
    found = read_augmented(slide.path)[:num_augmented]
    num_wrong = int(np.count_nonzero(~np.isfinite(found).all(axis=(0, 2))))
    if num_wrong:
        raise ArtifactError(
            f"{slide.record.slide_id}: {num_wrong} of {slide.num_tiles} tiles have variations "
            "whose features are no numbers. Extract them again, or leave that slide out"
        )
    return found


def _write_array(
    path: Path, kind: np.dtype[Any], shape: tuple[int, ...], parts: Iterable[NDArray[Any]]
) -> None:
    """A .npy file, part by part; not through a map of it, in which a full disk would be fatal."""
    facts = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with publish(path) as scratch, scratch.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, facts)
        for part in parts:
            stream.write(np.ascontiguousarray(part, kind).data)


@dataclass(frozen=True, eq=False)
class BlockReader:
    """Tiles of slides on a device.

    kept     maps of a slide's tiles, by its number
    size_px  edge that pixels are scaled to; None: as they are
    """

    tiles: NumberedTiles
    pool: ThreadPoolExecutor
    kept: KeptMaps
    device: str = "cpu"
    size_px: int | None = None

    def __call__(self, rows: NDArray[np.int64]) -> Iterator[Tensor]:
        """Features (n, F) or pixels (n, 3, H, W) from 0 to 1 of all these tiles."""
        source = self.tiles.source
        if self.tiles.is_pixels:
            yield from pixel_blocks(source, rows, self.pool, self.device, self.size_px)
            return
        for start in range(0, max(1, len(rows)), ROW_BLOCK):
            part = source.read(rows[start : start + ROW_BLOCK])
            yield torch.from_numpy(part).to(self.device)


def block_of(device: str) -> int:
    """Tiles of pixels that are decoded and scored at once."""
    return PIXEL_BLOCK if device == "cpu" else DEVICE_BLOCK


def pixel_blocks(
    source: TileSource,
    rows: NDArray[np.int64],
    pool: ThreadPoolExecutor,
    device: str,
    size_px: int | None,
) -> Iterator[Tensor]:
    """Pixels (n, 3, H, W) from 0 to 1 of tiles, block by block, decoded ahead in threads."""
    block = block_of(device)
    parts = [rows[start : start + block] for start in range(0, len(rows), block)]
    depth = min(max(BLOCKS_AHEAD, num_cores()), MOST_AHEAD)
    for pixels in ahead(pool, source.read, parts, depth):
        yield to_images(pixels, device, size_px)
