"""TIAToolbox: its patch extractor at the wanted mpp, at the given tiles."""

import cv2
import numpy as np
from peer import Job, ReadTile, Tile, main, processes, threads
from tiatoolbox.tools.patchextraction import PointsPatchExtractor
from tiatoolbox.wsicore.wsireader import WSIReader


def open_extractor(job: Job) -> ReadTile:
    """PointsPatchExtractor wants the centers, in the pixels of the wanted resolution."""
    cv2.setNumThreads(1)
    reader = WSIReader.open(job.slide_path)
    half = (job.size_px - 1) // 2
    centers = np.round(job.l0_xy * (job.size_px / job.l0_size)).astype(int) + half
    extractor = PointsPatchExtractor(
        reader,
        centers,
        patch_size=job.size_px,
        resolution=job.mpp,
        units="mpp",
    )
    position = {(int(x), int(y)): index for index, (x, y) in enumerate(job.l0_xy)}

    def read_tile(x: int, y: int) -> Tile:
        return extractor[position[x, y]]

    return read_tile


def open_bounds(job: Job) -> ReadTile:
    cv2.setNumThreads(1)
    reader = WSIReader.open(job.slide_path)
    mpp, edge = job.mpp, job.l0_size

    def read_tile(x: int, y: int) -> Tile:
        bounds = (x, y, x + edge, y + edge)
        return reader.read_bounds(bounds, resolution=mpp, units="mpp")

    return read_tile


if __name__ == "__main__":
    main(
        {
            "PointsPatchExtractor, threads": threads(open_extractor),
            "PointsPatchExtractor, processes": processes(open_extractor),
            "read_bounds, threads": threads(open_bounds),
            "read_bounds, processes": processes(open_bounds),
        }
    )
