"""What a TIFF's entries say of its resolution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pathology.slides.reader import SlideFacts
from pathology.slides.resolution import Spacing, mpp_of_resolution_tag

INCH = 2  # TIFF's unit of resolution where none is given
# as ome_writer notes them; files of before say the model alone
STAIN = re.compile(r'<M K="stain">([0-9a-f]{12})</M>')
STAIN_MODEL = re.compile(r'<M K="model_fingerprint">([0-9a-f]{12})</M>')


def facts_of_page(tags: Any, ome: Mapping[str, Any] | None, text: str = "") -> SlideFacts:
    """The facts in a page's tags, and in the OME-XML of the file where it has one.

    tags       tifffile's, by name
    ome, text  the XML as nested dictionaries, its root "OME" inside, and as it is written
    """
    spacings = [] if ome is None else ome_spacing(ome)
    if "XResolution" in tags and "YResolution" in tags:
        unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else INCH
        x, y = (_tag_mpp(tags[name].value, unit) for name in ("XResolution", "YResolution"))
        if x and y:
            spacings.append(Spacing((x, y), "tiff"))
    stain = STAIN.search(text) or STAIN_MODEL.search(text)
    return SlideFacts(
        tuple(spacings),
        "tiff" if ome is None else "ome-tiff",
        normalized_by=stain.group(1) if stain else "",
    )


def ome_spacing(ome: Mapping[str, Any]) -> list[Spacing]:
    """The physical size of the first image's pixels, where it is given in a unit of length."""
    image = ome.get("OME", {}).get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    microns = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3}
    values = [
        float(pixels.get(f"PhysicalSize{axis}", 0))
        * microns.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), 0)
        for axis in "XY"
    ]
    return [Spacing((values[0], values[1]), "slide")] if all(values) else []


def _tag_mpp(value: tuple[int, int], unit: int) -> float | None:
    return mpp_of_resolution_tag(value[0] / value[1], unit) if value[1] else None
