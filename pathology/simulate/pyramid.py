"""Writing an image the way a scanner does: tiled JPEG, several levels, spacing in the tags."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from pathology.core.artifact import publish

LEVEL_DOWNSAMPLES = (1, 4, 16)
TIFF_TILE = (256, 256)


def write_pyramid(
    path: Path,
    rgb: NDArray[np.uint8],
    *,
    mpp: float | None,
    jpeg_quality: int,
    description: str,
) -> None:
    """Write level 0 and its reductions as a tiled JPEG TIFF; mpp None leaves the spacing out."""
    spacing = (1.0, 1.0) if mpp is None else (1e4 / mpp, 1e4 / mpp)
    unit = "NONE" if mpp is None else "CENTIMETER"
    with publish(path) as scratch, tifffile.TiffWriter(scratch) as tiff:
        for downsample, level in zip(LEVEL_DOWNSAMPLES, pyramid(rgb), strict=True):
            tiff.write(
                level,
                tile=TIFF_TILE,
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": jpeg_quality},
                resolution=(spacing[0] / downsample, spacing[1] / downsample),
                resolutionunit=unit,
                subfiletype=int(downsample > 1),
                description=description if downsample == 1 else None,
                software="pathology.simulate",
                metadata=None,
            )


def pyramid(rgb: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """The image at each of LEVEL_DOWNSAMPLES."""
    for downsample in LEVEL_DOWNSAMPLES:
        size = (max(1, rgb.shape[1] // downsample), max(1, rgb.shape[0] // downsample))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if downsample > 1 else rgb
        yield np.asarray(small, np.uint8)
