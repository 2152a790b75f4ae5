"""cuCIM on the CPU: read each square at level 0 and average it down."""

from collections.abc import Iterator

import cv2
import numpy as np
from cucim import CuImage
from peer import NUM_WORKERS, Job, ReadTile, Tally, Tile, Variant, count, main, threads


def open_reader(job: Job) -> ReadTile:
    cv2.setNumThreads(1)
    slide = CuImage(job.slide_path)
    square, out = (job.l0_size, job.l0_size), (job.size_px, job.size_px)

    def read_tile(x: int, y: int) -> Tile:
        region = np.asarray(slide.read_region((x, y), square, level=0))
        return cv2.resize(region, out, interpolation=cv2.INTER_AREA)

    return read_tile


def batches(batch_size: int) -> Variant:
    """One call with all locations; cuCIM's own workers read while Python averages down."""

    def tiles(job: Job) -> Iterator[Tile]:
        slide = CuImage(job.slide_path)
        out = (job.size_px, job.size_px)
        regions = slide.read_region(
            [(int(x), int(y)) for x, y in job.l0_xy],
            (job.l0_size, job.l0_size),
            level=0,
            num_workers=NUM_WORKERS,
            batch_size=batch_size,
        )
        for batch in regions:
            array = np.asarray(batch)
            for region in array if array.ndim == 4 else [array]:
                yield cv2.resize(region, out, interpolation=cv2.INTER_AREA)

    def variant(job: Job) -> Tally:
        cv2.setNumThreads(1)
        return count(tiles(job))

    return variant


if __name__ == "__main__":
    main(
        {
            "two threads": threads(open_reader),
            "num_workers=2, batch 1": batches(1),
            "num_workers=2, batch 16": batches(16),
        }
    )
