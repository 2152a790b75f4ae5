"""PNG files that say in their text what they were made of, and are known again by it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, PngImagePlugin

from pathology.core.artifact import publish
from pathology.slides.flat_reader import PNG_NOTE
from pathology.stain.matrix import Pixels

UM_PER_INCH = 25_400
COMPRESSION = 3  # twice as fast as the usual 6, a few per cent larger


def write_png(
    path: Path, pixels: Pixels, notes: Mapping[str, str], mpp: float | None = None
) -> int:
    """Write a picture with its notes, and its resolution where that is known, whole or not at all.

    Returns its bytes.
    """
    said = PngImagePlugin.PngInfo()
    for key, value in notes.items():
        said.add_text(PNG_NOTE + key, value)
    said.add_text("Comment", "research use only")
    stream = io.BytesIO()
    dpi = {"dpi": (UM_PER_INCH / mpp,) * 2} if mpp else {}
    Image.fromarray(pixels).save(stream, "PNG", compress_level=COMPRESSION, pnginfo=said, **dpi)
    with publish(path) as scratch:
        return scratch.write_bytes(stream.getvalue())


def read_notes(path: Path) -> dict[str, str]:
    """The notes of a PNG file that was written here; none where there is no such file."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            said = dict(image.info)
    except (OSError, ValueError, SyntaxError):
        return {}
    return {
        str(key).removeprefix(PNG_NOTE): str(value)
        for key, value in said.items()
        if str(key).startswith(PNG_NOTE)
    }
