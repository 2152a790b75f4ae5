"""fastslide: read each square at level 0 and average it down."""

import cv2
import fastslide
from peer import Job, ReadTile, Tile, main, processes, threads


def open_reader(job: Job) -> ReadTile:
    cv2.setNumThreads(1)
    slide = fastslide.FastSlide.from_file_path(job.slide_path)
    square, out = (job.l0_size, job.l0_size), (job.size_px, job.size_px)

    def read_tile(x: int, y: int) -> Tile:
        region = slide.read_region(location=(x, y), level=0, size=square).numpy()
        return cv2.resize(region, out, interpolation=cv2.INTER_AREA)[..., :3]

    return read_tile


if __name__ == "__main__":
    main({"threads": threads(open_reader), "processes": processes(open_reader)})
