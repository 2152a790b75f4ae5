"""Opening a slide: the fastest reader that reads it faithfully."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pathology.core.errors import UnreadableSlide
from pathology.core.manifest import SlideRecord
from pathology.slides.flat_reader import FlatReader, is_tiff
from pathology.slides.openslide_reader import OpenSlideReader, vendor_of
from pathology.slides.reader import SlideReader
from pathology.slides.tiff_reader import (
    TiffReader,
    has_jpeg_tiles,
    is_tiled_rgb,
    require_whole_tiff,
)

PLAIN = ("aperio", "generic-tiff")  # dialects that are TIFF and nothing else


def open_slide(record: SlideRecord) -> SlideReader:
    """A reader for the record's file; close it when done.

    Plain and OME-TIFF in tiles, and Aperio's with JPEG tiles, are read directly; all else that
    OpenSlide knows through OpenSlide, and other files as flat images. A folder is a DICOM slide.
    Raises UnreadableSlide with what is wrong.
    """
    path = _file_of(record)
    vendor = vendor_of(path)
    if vendor == "aperio" and has_jpeg_tiles(path):
        known = OpenSlideReader(record.slide_id, path)
        known.close()
        return TiffReader(record.slide_id, path, known.facts)
    if vendor in (None, "generic-tiff") and is_tiff(path) and is_tiled_rgb(path):
        return TiffReader(record.slide_id, path)
    if vendor in PLAIN:
        require_whole_tiff(record.slide_id, path)
    if vendor is not None:
        return OpenSlideReader(record.slide_id, path)
    return FlatReader(record.slide_id, path)


def _file_of(record: SlideRecord) -> Path:
    """The file to open; of a DICOM folder, its first file."""
    path = record.slide_path
    if path.name.lower().endswith((".ome.zarr", ".zarr")):
        raise UnreadableSlide(
            record.slide_id, f"{path.name}: OME-Zarr is not read", "Convert it to OME-TIFF"
        )
    try:
        if path.is_dir():
            return _first_dicom(record.slide_id, path)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would keep us waiting for ever
            raise UnreadableSlide(record.slide_id, f"{path.name}: not a file", "Give a slide file")
        if status.st_size == 0:
            raise UnreadableSlide(
                record.slide_id, f"{path.name}: the file is empty", "Copy it again"
            )
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        raise UnreadableSlide(
            record.slide_id,
            f"{path}: {(error.strerror or str(error)).lower()}",
            "Correct slide_path, its permissions, or --data-root",
        ) from error
    return path


def _first_dicom(slide_id: str, folder: Path) -> Path:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".dcm" and p.is_file())
    if not files:
        raise UnreadableSlide(
            slide_id,
            f"{folder.name}: a folder without DICOM (.dcm) files",
            "Give the slide's file, or the folder of a DICOM slide",
        )
    return files[0]
