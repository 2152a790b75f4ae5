"""Flat pictures: which files are such, and their pixels or why there are none."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pathology.core.errors import SlideError, UnreadableSlide
from pathology.core.manifest import SlideRecord
from pathology.slides.flat_reader import is_tiff
from pathology.slides.open import open_slide
from pathology.slides.openslide_reader import vendor_of
from pathology.slides.plan import planes
from pathology.slides.resolution import is_plausible
from pathology.slides.tiff_checks import GREY
from pathology.slides.tiff_reader import FOREIGN, TiffReader, colors_lacking, is_tiled_rgb
from pathology.stain.matrix import Pixels

PLAIN = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm")
SUFFIXES = (*PLAIN, ".tif", ".tiff")
LARGE_PX = 64_000_000  # more is a slide without levels; microscope cameras end below
DEEP_PNG = 16
IS_PICTURE = "is_picture"  # of a file of features: whether its slide is a flat picture
REMEDY = "Give 8-bit RGB pictures of stained tissue"


@dataclass(frozen=True)
class Picture:
    """The pixels (H, W, 3) of a flat picture, and its microns per pixel where the file says so.

    normalized_by  fingerprint of the stain that it was rendered in; "": as it was taken
    """

    pixels: Pixels
    mpp: float | None
    normalized_by: str = ""


def is_picture(path: Path) -> bool:
    """Whether a file is small and flat, as a photograph or a cut-out is, told from its header."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        return False
    if suffix in PLAIN:
        return _num_pixels(path) <= LARGE_PX
    if vendor_of(path) not in (None, "generic-tiff"):
        return False
    if not is_tiled_rgb(path):
        return _num_pixels(path) <= LARGE_PX
    try:
        with closing(TiffReader(path.name, path)) as slide:
            width, height = slide.levels[0].size
            return len(slide.levels) == 1 and width * height <= LARGE_PX
    except UnreadableSlide:
        return False  # whoever reads it will say what is wrong


def is_of_picture(store_attributes: Mapping[str, Any]) -> bool:
    """Whether tiles were cut from a flat picture, as far as its file is still there."""
    return is_picture(Path(str(store_attributes.get("outcome", {}).get("slide_path", ""))))


def read_picture(picture_id: str, path: Path) -> Picture:
    """The pixels of a flat picture; alpha is laid on white.

    Raises SlideError for what cannot be read, and for grey and 16-bit pictures, which show no
    stain that could be told from another.
    """
    require_colors(picture_id, path)
    with closing(open_slide(SlideRecord(picture_id, path))) as slide:
        pixels = slide.read_plane(planes(slide.levels, 1)[0], (0, 0), slide.levels[0].size)
        spacings = [s.mpp for s in slide.facts.spacings if is_plausible(s.mpp)]
        stain = slide.facts.normalized_by
    return Picture(np.ascontiguousarray(pixels), spacings[0][0] if spacings else None, stain)


def require_colors(slide_id: str, path: Path) -> None:
    """Raise SlideError for grey and 16-bit images that are told from their headers.

    What is none of plain images, or cannot be read, passes: its reader knows more of it.
    """
    if not path.is_file() or vendor_of(path) not in (None, "generic-tiff"):
        return
    lack = colors_lacking(path) if is_tiff(path) else _mode_lacks(path)
    if lack:
        raise SlideError(slide_id, lack, REMEDY)


def squares_of(pixels: Pixels, size_px: int) -> Pixels:
    """Squares (N, size_px, size_px, 3) that cover a picture (H, W, 3), row by row.

    The last ones of a row or column are moved inwards to the edge; a picture smaller than a square
    is mirrored up to it.
    """
    height, width = pixels.shape[:2]
    bottom, right = max(0, size_px - height), max(0, size_px - width)
    if bottom or right:
        pixels = _mirrored(pixels, bottom, right)
    return np.stack(
        [
            pixels[y : y + size_px, x : x + size_px]
            for y in corners_along(pixels.shape[0], size_px)
            for x in corners_along(pixels.shape[1], size_px)
        ]
    )


def corners_along(edge: int, size_px: int) -> list[int]:
    """Where squares begin along an edge that is no shorter than they are.

    >>> corners_along(600, 256)
    [0, 256, 344]
    """
    return sorted({*range(0, edge - size_px + 1, size_px), edge - size_px})


def evenly(num: int, wanted: int) -> NDArray[np.int64]:
    """At most wanted of num places, evenly spaced, the first and the last among them.

    >>> evenly(9, 3).tolist()
    [0, 4, 8]
    """
    if num <= 0:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, num - 1, min(num, wanted)).astype(np.int64))


def _mirrored(pixels: Pixels, bottom: int, right: int) -> Pixels:
    """The picture continued downwards and to the right as in mirrors, as often as is needed."""
    kind = cv2.BORDER_REFLECT
    while bottom or right:
        height, width = pixels.shape[:2]
        down, across = min(bottom, height), min(right, width)
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, down, 0, across, kind), np.uint8)
        bottom, right = bottom - down, right - across
    return pixels


def _num_pixels(path: Path) -> int:
    """What the header says; 0 where there is none, so that the reader says what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.width * image.height
    except FOREIGN:
        return 0


def _mode_lacks(path: Path) -> str:
    """What an image that is no TIFF lacks to be 8-bit colours, or ""."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                mode, kind = image.mode, image.format
    except (UnidentifiedImageError, *FOREIGN):
        return ""  # a reader that knows it, or can say what is wrong, comes next
    if kind == "PNG" and _png_depth(path) == DEEP_PNG:
        return "16-bit colours"
    if mode in ("1", "L", "LA", "La", "I", "F") or mode.startswith("I;"):
        return GREY
    return "" if mode in ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA") else f"colours of kind {mode}"


def _png_depth(path: Path) -> int:
    """Bits of a channel, which stand in byte 24 of a PNG."""
    with path.open("rb") as stream:
        return stream.read(25)[-1]


def names_of(paths: Sequence[Path], root: Path) -> list[str]:
    """An id for each picture: its path below root without the suffix, "/" as "__".

    Where two would share one, each keeps its suffix, and longer lines stand for "/".
    """
    inside = [path.relative_to(root) for path in paths]
    stems = [path.with_suffix("").as_posix() for path in inside]
    named = unlike_names(stems, [path.as_posix() for path in inside])
    joints = ("_" * length for length in count(2))  # x/y and x__y are two pictures
    ids = ([name.replace("/", joint) for name in named] for joint in joints)
    return next(found for found in ids if len(set(found)) == len(found))


def unlike_names(short: Sequence[str], long: Sequence[str]) -> list[str]:
    """The short name of each, or its long one where another has the same; long ones all differ."""
    named = list(short)
    while True:
        num = Counter(named)
        twice = [i for i, name in enumerate(named) if num[name] > 1 and name != long[i]]
        if not twice:
            return named
        for i in twice:
            named[i] = long[i]
