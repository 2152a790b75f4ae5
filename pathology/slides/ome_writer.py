"""Pyramidal OME-TIFF from tiles that are encoded already, one level after the other.

The smaller levels hang below the first as SubIFDs, where OME's readers (Bio-Formats, QuPath) look
for them, and the same directories follow the first in the file's list of pages, where OpenSlide and
other readers of plain TIFF look. Each is stored once.
"""

from __future__ import annotations

import html
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import tifffile
from pydantic import Field

from pathology import __version__
from pathology.core.config import StageConfig
from pathology.core.geometry import MAX_MPP, MIN_MPP
from pathology.slides import jpeg
from pathology.slides.plan import Pair
from pathology.slides.reader import Pixels
from pathology.slides.tiff_reader import FOREIGN

FACTOR = 4  # from one level to the next, as scanners have it: a fifteenth more pixels in all
OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
NAMESPACE = "pathology/stain"
NOTE = re.compile(r'<M K="(\w+)">([^<]*)</M>')
MICRON_CM = 1e4
TAG_BYTES = 20  # of one entry in a directory of a BigTIFF


class PyramidConfig(StageConfig):
    """How a whole slide is written.

    mpp           microns per pixel of its finest level; None: that of the slide
    tile_px       edge of a stored tile
    jpeg_quality  1 to 100
    subsampling   of the chroma channels: 420 as scanners have it, 444 keeps colour whole
    """

    mpp: float | None = Field(default=None, ge=MIN_MPP, le=MAX_MPP)
    tile_px: int = Field(default=256, ge=64, le=512, multiple_of=16)
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    subsampling: Literal["444", "422", "420"] = "420"


class StoredLevel(NamedTuple):
    """A level's (width, height), and the JPEG streams of its tiles, row by row."""

    size: Pair
    tiles: Iterable[bytes]


@dataclass(frozen=True)
class OmeFacts:
    """What the file says of itself.

    name         of the image
    mpp          (x, y) microns per pixel of the finest level
    description  a sentence for people
    notes        keys and values, kept as one of OME's map annotations; "fingerprint" among them
    """

    name: str
    mpp: tuple[float, float]
    description: str = "Research use only."
    notes: Mapping[str, str] = field(default_factory=dict)


def level_sizes(size: Pair, tile_px: int) -> list[Pair]:
    """The (width, height) of every level, down to the first that is one tile.

    >>> level_sizes((3000, 2000), 256)
    [(3000, 2000), (750, 500), (188, 125)]
    """
    sizes = [size]
    while max(sizes[-1]) > tile_px:
        width, height = sizes[-1]
        sizes.append((-(-width // FACTOR), -(-height // FACTOR)))
    return sizes


def encode_tiles(pixels: Pixels, config: PyramidConfig) -> Iterator[bytes]:
    """An image (H, W, 3) as JPEG tiles, row by row; those at the edges are filled up."""
    edge = config.tile_px
    for top in range(0, pixels.shape[0], edge):
        for left in range(0, pixels.shape[1], edge):
            tile = _filled(pixels[top : top + edge, left : left + edge], edge)
            yield jpeg.encode(tile, config.jpeg_quality, config.subsampling)


def write_ome(
    path: Path, levels: Sequence[StoredLevel], config: PyramidConfig, facts: OmeFacts
) -> None:
    """Write levels, finest first, to path, which nobody reads yet: see core.artifact.publish.

    Raises ValueError where a level has too few or too many tiles.
    """
    subsampling = {"444": (1, 1), "422": (2, 1), "420": (2, 2)}[config.subsampling]
    edge = config.tile_px
    per_cm = (MICRON_CM / facts.mpp[0], MICRON_CM / facts.mpp[1])
    with tifffile.TiffWriter(path, bigtiff=True, byteorder="<", ome=False) as tiff:
        for number, level in enumerate(levels):
            width, height = level.size
            step = (levels[0].size[0] / width, levels[0].size[1] / height)
            tiles, num = iter(level.tiles), -(-width // edge) * -(-height // edge)
            tiff.write(
                _all_of(tiles, num),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(edge, edge),
                photometric="ycbcr",
                subsampling=subsampling,
                compression="jpeg",
                subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=int(number > 0),
                resolution=(per_cm[0] / step[0], per_cm[1] / step[1]),
                resolutionunit="CENTIMETER",
                description=ome_xml(levels[0].size, facts) if number == 0 else None,
                software=f"pathology {__version__}",
                metadata=None,
            )
            if next(tiles, None) is not None:
                raise ValueError(f"a level of {num} tiles was given more")
    _chain(path)


def ome_xml(size: Pair, facts: OmeFacts) -> bytes:
    """The OME-XML of one RGB image of (width, height).

    In UTF-8, since Bio-Formats drops the ampersand of numbered characters, and then the file.
    """
    root = ET.Element("OME", {"xmlns": OME, "Creator": f"pathology {__version__}"})
    image = ET.SubElement(root, "Image", {"ID": "Image:0", "Name": facts.name})
    ET.SubElement(image, "Description").text = facts.description
    layout = {"ID": "Pixels:0", "DimensionOrder": "XYCZT", "Type": "uint8"}
    layout |= {"Interleaved": "true", "BigEndian": "false"}
    counts = {"SizeX": size[0], "SizeY": size[1], "SizeC": 3, "SizeZ": 1, "SizeT": 1}
    spacing: dict[str, str] = {}
    for axis, mpp in zip("XY", facts.mpp, strict=True):
        spacing |= {f"PhysicalSize{axis}": f"{mpp:.9g}", f"PhysicalSize{axis}Unit": "µm"}
    said = {**layout, **{name: str(count) for name, count in counts.items()}, **spacing}
    pixels = ET.SubElement(image, "Pixels", said)
    ET.SubElement(pixels, "Channel", {"ID": "Channel:0:0", "SamplesPerPixel": "3"})
    ET.SubElement(pixels, "TiffData", {"IFD": "0", "PlaneCount": "1"})
    ET.SubElement(image, "AnnotationRef", {"ID": "Annotation:0"})
    annotations = ET.SubElement(root, "StructuredAnnotations")
    name = {"ID": "Annotation:0", "Namespace": NAMESPACE}
    values = ET.SubElement(ET.SubElement(annotations, "MapAnnotation", name), "Value")
    for key, value in facts.notes.items():
        ET.SubElement(values, "M", {"K": key}).text = value
    text: bytes = ET.tostring(root, "utf-8", xml_declaration=True)
    return text


def stored_notes(path: Path) -> dict[str, str]:
    """The notes that a file written here carries; none where there is no such file."""
    try:
        with tifffile.TiffFile(path) as tiff:
            found = NOTE.findall(tiff.pages.first.description)
    except FOREIGN:
        return {}
    return {key: html.unescape(value) for key, value in found}


def stored_fingerprint(path: Path) -> str | None:
    """The fingerprint that a file written here carries; None where there is no such file."""
    return stored_notes(path).get("fingerprint")


def _filled(tile: Pixels, edge: int) -> Pixels:
    height, width = tile.shape[:2]
    if (height, width) == (edge, edge):
        return np.ascontiguousarray(tile)
    border = (0, edge - height, 0, edge - width)
    return np.asarray(cv2.copyMakeBorder(tile, *border, cv2.BORDER_REPLICATE), np.uint8)


def _all_of(tiles: Iterator[bytes], num: int) -> Iterator[bytes]:
    """So many of the tiles. Raises ValueError where there are fewer."""
    for place in range(num):
        tile = next(tiles, None)
        if tile is None:
            raise ValueError(f"a level of {num} tiles was given {place}")
        yield tile


def _chain(path: Path) -> None:
    """Let each directory name the next, so that the levels are pages as well."""
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages.first
        places = [first.offset, *(first.subifds or ()), 0]
    with path.open("r+b") as stream:
        for here, following in pairwise(places):
            stream.seek(here)
            (num_tags,) = struct.unpack("<Q", stream.read(8))
            stream.seek(here + 8 + num_tags * TAG_BYTES)
            stream.write(struct.pack("<Q", following))
