"""Flat images held in memory: photographs from a microscope, PNG, JPEG and plain TIFF."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pathology.core.errors import UnreadableSlide
from pathology.slides import jpeg
from pathology.slides.orientation import ORIENTATION, orientation_of, upright, upright_facts
from pathology.slides.plan import Level, Pair, Plane, ReadPlan
from pathology.slides.reader import Halved, Pixels, SlideFacts, shrink, tiles_one_by_one
from pathology.slides.resolution import Spacing
from pathology.slides.tiff_checks import MAX_FLAT_PIXELS, TooLarge
from pathology.slides.tiff_reader import FOREIGN, read_flat_tiff, said_of

MAX_REDUCTION = 64
STRIP_ROWS = 256
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")  # others guess, or start programs
Image.MAX_IMAGE_PIXELS = None  # ours is asked for before anything is decoded
PNG_NOTE = "pathology:"  # how notes begin in the text of the PNG files that are written here
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class FlatReader:
    """One image in memory, one level. Grey becomes RGB, 16 bits become 8, alpha goes on white."""

    def __init__(self, slide_id: str, path: Path) -> None:
        self.slide_id = slide_id
        try:
            if is_tiff(path):
                values, self.facts = read_flat_tiff(path)
                self._pixels = rgb8(values)
            else:
                self._pixels, self.facts = _read_image(path)
        except UnidentifiedImageError as error:
            raise UnreadableSlide(
                slide_id,
                f"{path.name}: neither OpenSlide, a TIFF nor an image reader recognizes it",
                "Check that the file is a slide and that its copy is complete",
            ) from error
        except TooLarge as error:
            raise UnreadableSlide(
                slide_id, f"{path.name}: {error}", "Convert it to a tiled pyramidal TIFF"
            ) from error
        except FOREIGN as error:
            raise UnreadableSlide(
                slide_id,
                f"{path.name}: cannot be decoded ({said_of(error)})",
                "Open it in an image viewer and save it again, or copy it again",
            ) from error
        size = (self._pixels.shape[1], self._pixels.shape[0])
        self.levels: tuple[Level, ...] = (Level(size, (1.0, 1.0)),)
        self.max_reduction = MAX_REDUCTION

    def close(self) -> None:
        """Let the pixels go."""
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def read_plane(self, plane: Plane, xy: Pair, size: Pair) -> Pixels:
        """Pixels (height, width, 3) of a rectangle of the plane; outside the image is white."""
        reduction = plane.reduction
        left, top = max(xy[0], 0), max(xy[1], 0)
        right, bottom = xy[0] + size[0], xy[1] + size[1]
        region = self._pixels[
            top * reduction : max(bottom, 0) * reduction,
            left * reduction : max(right, 0) * reduction,
        ]
        small = shrink(region, reduction) if region.size else region[:0, :0]
        if small.shape[:2] == (size[1], size[0]):
            return small
        canvas = np.full((size[1], size[0], 3), 255, np.uint8)
        x, y = left - xy[0], top - xy[1]
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
        return canvas

    def iter_tiles(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> Iterator[Pixels]:
        """One tile (size_px, size_px, 3) after the other."""
        return tiles_one_by_one(self, l0_xy, plan)

    def stored_jpegs(self, l0_xy: NDArray[np.int64], plan: ReadPlan) -> list[bytes] | None:
        """None: a flat image has no stored tiles."""
        return None

    def iter_halved(
        self, l0_xy: NDArray[np.int64], plan: ReadPlan, quality: int
    ) -> Iterator[Halved | None] | None:
        """None, for the same reason."""
        return None


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF does."""
    with path.open("rb") as stream:
        return stream.read(4) in TIFF_MAGIC


def rgb8(values: NDArray[Any]) -> Pixels:
    """Any image array as (H, W, 3) uint8 RGB.

    Grey is repeated, alpha is laid on white, 16-bit values keep their high byte (or are taken
    as 8-bit where none exceeds 255). Raises ValueError for arrays that are no single image.
    """
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or 0 in values.shape:
        raise ValueError(f"an array of shape {values.shape} is not one colour image")
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    if values.dtype == np.uint16:
        values = values >> 8 if values.max() > 255 else values
    elif values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype != np.uint8:
        raise ValueError(f"{values.dtype} pixels; 8- or 16-bit ones are needed")
    if values.shape[2] == 4:
        return _on_white(values)
    return np.ascontiguousarray(values, np.uint8)


def _on_white(values: NDArray[Any]) -> Pixels:
    """RGB of (H, W, 4), a strip at a time, as floats take much memory."""
    pixels = np.empty((*values.shape[:2], 3), np.uint8)
    for top in range(0, len(values), STRIP_ROWS):
        strip = values[top : top + STRIP_ROWS]
        alpha = strip[..., 3:].astype(np.float32) / 255
        pixels[top : top + STRIP_ROWS] = np.rint(strip[..., :3] * alpha + 255 * (1 - alpha))
    return pixels


def _read_image(path: Path) -> tuple[Pixels, SlideFacts]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on large or odd files; errors still rise
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_FLAT_PIXELS:
                raise TooLarge(f"{image.width}x{image.height} px is too large for a flat image")
            kind = str(image.format).lower()
            facts = SlideFacts(_spacing(image), kind, normalized_by=_stain_of(image))
            pixels, turn = _pixels_of(image, path), _orientation(image)
            return upright(pixels, turn), upright_facts(facts, turn)


def _pixels_of(image: Image.Image, path: Path) -> Pixels:
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
        return jpeg.decode(path.read_bytes(), image.size)  # Pillow forgives damage
    if image.format == "PNG":
        _require_checksums(path)
    if image.mode.startswith("I"):  # of the formats here none holds more than 16 bits
        return rgb8(np.asarray(image).astype(np.uint16))
    return rgb8(np.asarray(image.convert("RGBA" if _has_alpha(image) else "RGB")))


def _orientation(image: Image.Image) -> int:
    """What EXIF says; 1, as stored, where it says nothing that can be read."""
    try:
        return orientation_of(image.getexif().get(ORIENTATION))
    except FOREIGN:
        return 1


def _require_checksums(path: Path) -> None:
    """Compare every part of a PNG with its checksum, which reading it does not."""
    with Image.open(path, formats=("PNG",)) as image:
        image.verify()


def _stain_of(image: Image.Image) -> str:
    """Fingerprint of the stain that a PNG of ours was rendered in, or ""."""
    said = image.info.get(f"{PNG_NOTE}stain")
    return said if isinstance(said, str) and re.fullmatch("[0-9a-f]{12}", said) else ""


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _spacing(image: Image.Image) -> tuple[Spacing, ...]:
    """Microns per pixel of a PNG's or JPEG's density; screen densities are sorted out later."""
    dpi = image.info.get("dpi")
    if not dpi or not dpi[0] > 0 or not dpi[1] > 0:
        return ()
    return (Spacing((25400 / float(dpi[0]), 25400 / float(dpi[1])), "tiff"),)
