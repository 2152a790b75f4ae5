"""libvips: fetch each square at level 0 and average it down."""

import cv2
import numpy as np
import pyvips
from peer import Job, ReadTile, Tile, main, processes, threads

pyvips.voperation.cache_set_max(0)


def open_and_halve(job: Job) -> ReadTile:
    cv2.setNumThreads(1)
    image = pyvips.Image.new_from_file(job.slide_path, access="random")
    region, bands, edge = pyvips.Region.new(image), image.bands, job.l0_size
    out = (job.size_px, job.size_px)

    def read_tile(x: int, y: int) -> Tile:
        square = np.frombuffer(region.fetch(x, y, edge, edge), np.uint8)
        square = square.reshape(edge, edge, bands)
        return cv2.resize(square, out, interpolation=cv2.INTER_AREA)[..., :3]

    return read_tile


def open_shrunk(job: Job) -> ReadTile:
    """libvips averages by itself, with all its vector code."""
    image = pyvips.Image.new_from_file(job.slide_path, access="random")
    factor, edge = job.l0_size // job.size_px, job.size_px
    region = pyvips.Region.new(image.shrink(factor, factor))

    def read_tile(x: int, y: int) -> Tile:
        square = region.fetch(x // factor, y // factor, edge, edge)
        return np.frombuffer(square, np.uint8).reshape(edge, edge, -1)[..., :3]

    return read_tile


if __name__ == "__main__":
    main(
        {
            "threads, Region.fetch": threads(open_and_halve),
            "threads, shrink": threads(open_shrunk),
            "processes, Region.fetch": processes(open_and_halve),
        }
    )
