"""The ceiling: decode every JPEG tile that the tissue lies on, once, and do nothing else."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from peer import CHUNK, NUM_WORKERS, Job, Tally, Tile, Variant, main

Decode = Callable[[bytes], Tile]


def native_tiles(
    l0_xy: NDArray[np.int64], l0_size: int, tile: tuple[int, int], num_columns: int
) -> list[int]:
    """Indices of the file's own (rows, columns) tiles that the squares cover.

    >>> native_tiles(np.array([[512, 0]]), 512, (256, 256), 10)
    [2, 3, 12, 13]
    """
    found: dict[int, None] = {}
    for x, y in l0_xy.tolist():
        for row in range(y // tile[0], -(-(y + l0_size) // tile[0])):
            for column in range(x // tile[1], -(-(x + l0_size) // tile[1])):
                found[row * num_columns + column] = None
    return list(found)


class EncodedTiles:
    """The encoded tiles of level 0, each made a whole JPEG by adding the file's tables."""

    def __init__(self, path: str) -> None:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0].keyframe
            self.offsets, self.lengths = page.dataoffsets, page.databytecounts
            self.tile = (page.tilelength, page.tilewidth)
            self.num_columns = -(-page.imagewidth // page.tilewidth)
            tables = page.jpegtables
        self.tables: bytes | None = tables[:-2] if tables else None
        self.file = os.open(Path(path), os.O_RDONLY)

    def __getitem__(self, index: int) -> bytes:
        data = os.pread(self.file, self.lengths[index], self.offsets[index])
        return self.tables + data[2:] if self.tables else data


def decode_with(decode: Decode) -> Variant:
    def variant(job: Job) -> Tally:
        encoded = EncodedTiles(job.slide_path)
        indices = native_tiles(job.l0_xy, job.l0_size, encoded.tile, encoded.num_columns)
        step = 4 * CHUNK

        def run(start: int) -> None:
            for index in indices[start : start + step]:
                decode(encoded[index])

        with ThreadPoolExecutor(NUM_WORKERS) as executor:
            list(executor.map(run, range(0, len(indices), step)))
        return Tally(len(job.l0_xy), [])

    return variant


if __name__ == "__main__":
    main(
        {
            "simplejpeg": decode_with(simplejpeg.decode_jpeg),
            "imagecodecs": decode_with(imagecodecs.jpeg8_decode),
        }
    )
