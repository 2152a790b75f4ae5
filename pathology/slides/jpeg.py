"""JPEG streams in and out: strict, scaled in the transform, without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Sequence

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

try:
    from pathology.slides._fastjpeg import halve as _halve
except ImportError:  # it is compiled where there is a C compiler, and only saves time
    _halve = None  # type: ignore[assignment]

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
ADOBE_RGB = bytes.fromhex("ffee000e41646f626500640000000000")  # APP14, transform 0: no YCbCr
CAN_HALVE = _halve is not None
MAX_SCALE = 8  # the transform has 8x8 coefficients


class DamagedJpeg(ValueError):
    """A stream that does not decode without a complaint, or not to the size it should have."""


def whole_stream(data: bytes, tables: bytes | None, is_rgb: bool) -> bytes:
    """A tile's abbreviated stream made whole with the TIFF's shared tables.

    is_rgb  the TIFF stores RGB and not YCbCr; the stream must then say so itself
    """
    if not data.startswith(SOI):
        raise DamagedJpeg("no JPEG stream where one should begin")
    marker = ADOBE_RGB if is_rgb else b""
    if not tables:
        return SOI + marker + data[2:] if marker else data
    return SOI + marker + tables[2:].removesuffix(EOI) + data[2:]


def decode(
    data: bytes,
    size: tuple[int, int],
    reduction: int = 1,
    buffer: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) of a stream that holds size = (width, height), reduced.

    reduction  1, 2, 4 or 8: the inverse transform gives the smaller image directly, which costs
               less than decoding it whole and is as good as area averages
    buffer     where the pixels go, an array of their shape; default: a new one
    Raises DamagedJpeg on any complaint of the decoder: half a tile is worse than none.
    """
    width, height = -(-size[0] // reduction), -(-size[1] // reduction)
    canvas = np.empty((height, width, 3), np.uint8) if buffer is None else buffer
    try:
        pixels = simplejpeg.decode_jpeg(
            data,
            "RGB",
            min_width=width if reduction > 1 else 0,
            min_height=height if reduction > 1 else 0,
            min_factor=reduction,
            buffer=canvas,
        )
    except ValueError as error:
        raise DamagedJpeg(str(error)) from error
    if pixels.shape != canvas.shape:
        raise DamagedJpeg(f"holds {pixels.shape[1]}x{pixels.shape[0]} px, not {width}x{height}")
    return np.asarray(pixels, np.uint8)


def encode(pixels: NDArray[np.uint8], quality: int, subsampling: str) -> bytes:
    """A baseline JPEG stream of (height, width, 3) RGB; subsampling is "444", "422" or "420"."""
    return bytes(imagecodecs.jpeg8_encode(pixels, level=quality, subsampling=subsampling))


def halve(
    streams: Sequence[bytes], columns: int, quality: int, planes: NDArray[np.uint8]
) -> bytes | None:
    """One JPEG stream of a mosaic of others at half their size, without a detour over RGB.

    streams  row by row, columns in each row, all of one size
    planes   (3, height, width) of the mosaic, filled with its Y, Cb and Cr
    Returns a baseline 4:4:4 stream, or None where the streams are of a kind that is left to decode
    and encode. Those agree with it within rounding.
    """
    try:
        return _halve(streams, columns, quality, planes)
    except ValueError:
        return None
