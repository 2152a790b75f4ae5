"""The grades of a slide's tiles as a pyramidal OME-TIFF that lies on the slide."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pathology.core.artifact import publish
from pathology.core.errors import SlideError
from pathology.interop.graded_tiles import GradedTiles, severity_color
from pathology.slides.ome_writer import (
    OmeFacts,
    PyramidConfig,
    StoredLevel,
    encode_tiles,
    level_sizes,
    write_ome,
)
from pathology.slides.reader import Pixels

PX_PER_TILE = 16  # of the picture's finest level: squares have sharp edges, and files stay small
QUALITY = 95


def export_heatmap(slide: GradedTiles, path: Path) -> Path:
    """Write a picture of the whole slide, each tile from green (benign) to red (the worst grade).

    The slide is its whole level 0; MRXS reaches beyond the bounds that QuPath counts from. White
    is where no tile was graded. A pixel is a sixteenth of a tile; its physical size is stated, so
    that viewers lay it on the slide. Raises SlideError where the slide's microns per pixel or its
    size are not known.
    """
    if slide.mpp is None or not all(slide.l0_size):
        raise SlideError(
            slide.slide_id,
            "its size or its microns per pixel are not in the predictions",
            "Predict again from tiles or features that state them",
        )
    step = slide.l0_edge / PX_PER_TILE
    pixels = paint(slide, step)
    config = PyramidConfig(tile_px=256, jpeg_quality=QUALITY, subsampling="444")
    levels = []
    for width, height in level_sizes((pixels.shape[1], pixels.shape[0]), config.tile_px):
        small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        levels.append(
            StoredLevel((width, height), encode_tiles(np.asarray(small, np.uint8), config))
        )
    said = f"Research use only. Grades of tiles, {' < '.join(slide.grades)}: green to red."
    spacing = slide.mpp * step
    facts = OmeFacts(
        f"{slide.slide_id} grades", (spacing, spacing), said,
        {"grade": slide.grade, "l0_pixels_per_pixel": f"{step:.6g}"},
    )  # fmt: skip
    with publish(path) as scratch:
        write_ome(scratch, levels, config, facts)
    return path


def paint(slide: GradedTiles, step: float) -> Pixels:
    """The picture (H, W, 3), a pixel for every step level-0 pixels; later tiles lie on top."""
    width, height = (int(np.ceil(edge / step)) for edge in slide.l0_size)
    pixels = np.full((height, width, 3), 255, np.uint8)
    ends = slide.l0_xy + slide.l0_edge
    for (x, y), (right, bottom), severity in zip(
        slide.l0_xy.tolist(), ends.tolist(), slide.severity_N.tolist(), strict=True
    ):
        rows = slice(round(y / step), round(bottom / step))
        pixels[rows, round(x / step) : round(right / step)] = severity_color(severity)
    return pixels
