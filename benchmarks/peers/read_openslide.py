"""OpenSlide: read each square at level 0 and average it down."""

import cv2
import numpy as np
import openslide
from peer import Job, ReadTile, Tile, main, processes, threads


def open_with_opencv(job: Job) -> ReadTile:
    cv2.setNumThreads(1)
    slide = openslide.OpenSlide(job.slide_path)
    square, out = (job.l0_size, job.l0_size), (job.size_px, job.size_px)

    def read_tile(x: int, y: int) -> Tile:
        region = np.asarray(slide.read_region((x, y), 0, square))
        return cv2.resize(region, out, interpolation=cv2.INTER_AREA)[..., :3]

    return read_tile


def open_with_pillow(job: Job) -> ReadTile:
    slide = openslide.OpenSlide(job.slide_path)
    square, factor = (job.l0_size, job.l0_size), job.l0_size // job.size_px

    def read_tile(x: int, y: int) -> Tile:
        region = slide.read_region((x, y), 0, square).convert("RGB")
        return np.asarray(region.reduce(factor))

    return read_tile


if __name__ == "__main__":
    main(
        {
            "threads, OpenCV": threads(open_with_opencv),
            "threads, Pillow": threads(open_with_pillow),
            "processes, OpenCV": processes(open_with_opencv),
        }
    )
