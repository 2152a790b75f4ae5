"""Microns per pixel of a slide: who says so, and whether it can be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathology.core.errors import MissingSpacing, SlideError
from pathology.core.geometry import MAX_MPP, MIN_MPP


@dataclass(frozen=True)
class Spacing:
    """Level-0 microns per pixel, (x, y), and where the value comes from.

    source  "manifest", "slide" (the scanner's own entry), "tiff" (resolution tags),
            "assumed" (--assume-mpp)
    """

    mpp: tuple[float, float]
    source: str


def is_plausible(mpp: tuple[float, float]) -> bool:
    """Whether both values lie in the range of real microscopes; NaN and infinity do not."""
    return all(MIN_MPP <= value <= MAX_MPP for value in mpp)


def decide_spacing(
    slide_id: str,
    manifest_mpp: float | None,
    found: Sequence[Spacing],
    assume_mpp: float | None,
) -> Spacing:
    """The spacing to believe: manifest, then what the file says, in the order given, then assumed.

    found  what the file says, most trusted first; implausible values are passed over
    Raises MissingSpacing where nothing is left, SlideError where the manifest is implausible.
    """
    if manifest_mpp is not None:
        given = Spacing((manifest_mpp, manifest_mpp), "manifest")
        if not is_plausible(given.mpp):
            raise SlideError(
                slide_id,
                f"mpp in the manifest is {manifest_mpp:g}, outside {MIN_MPP}-{MAX_MPP} um/px",
                "Correct the manifest (0.25 is a 40x scan, 0.5 a 20x scan)",
            )
        return given
    for spacing in found:
        if is_plausible(spacing.mpp):
            return spacing
    if assume_mpp is not None:
        return Spacing((assume_mpp, assume_mpp), "assumed")
    said = "; ".join(f"{s.source} says {s.mpp[0]:.4g} um/px" for s in found)
    raise MissingSpacing(
        slide_id,
        f"the file gives no usable microns per pixel{f' ({said}: implausible)' if said else ''}",
        "Add an mpp column to the manifest, or pass --assume-mpp if all such slides share one",
    )


def mpp_of_resolution_tag(pixels_per_unit: float, unit: int) -> float | None:
    """Microns per pixel of TIFF's XResolution and ResolutionUnit (2 inch, 3 centimetre).

    >>> mpp_of_resolution_tag(40000.0, 3)
    0.25
    """
    microns = {2: 25400.0, 3: 10000.0}.get(unit)
    if microns is None or not pixels_per_unit > 0:
        return None
    return microns / pixels_per_unit
