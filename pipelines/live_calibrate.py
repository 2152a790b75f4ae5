"""Microns per pixel of an objective, from a stage micrometer or a known length."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from pathology.core.errors import ConfigError
from pathology.core.geometry import MAX_MPP, MIN_MPP
from pathology.inference.objectives import Objective, keep_objective
from pathology.inference.stage_micrometer import glass_color, measure_ruling
from pathology.slides.reader import Pixels
from pipelines.flat_pictures import read_picture
from pipelines.live_sources import SourceOptions, source_of

WARM_FRAMES = 5  # in which cameras set their exposure


@dataclass(frozen=True)
class CalibrateOptions:
    """What an objective is measured by: a picture or a source with a ruling, or a length.

    division_um  of the stage micrometer
    glass        picture of empty glass; without, the micrometer's picture tells its color
    """

    objective: str
    out: Path
    picture: Path | None = None
    source: str | None = None
    division_um: float = 10.0
    length_um: float | None = None
    length_px: float | None = None
    glass: Path | None = None
    asked: SourceOptions = field(default_factory=SourceOptions)


def calibrate(options: CalibrateOptions) -> Objective:
    """Measure an objective and keep it in the file. Raises ConfigError where that cannot be."""
    pixels = _picture(options)
    color = None if pixels is None else glass_color(pixels)
    if options.glass is not None:
        color = glass_color(read_picture(options.glass.stem, options.glass).pixels)
    if options.length_um is not None and options.length_px is not None:
        if not options.length_px > 0:
            raise ConfigError(f"--length-px {options.length_px:g}: must be above 0")
        mpp = options.length_um / options.length_px
        how = f"{options.length_um:g} um over {options.length_px:g} px"
    elif pixels is None:
        raise ConfigError(
            "nothing to measure by. Give --picture or --source with a stage micrometer in view, or "
            "--length-um with --length-px"
        )
    else:
        ruling = measure_ruling(pixels)
        mpp = options.division_um / ruling.division_px
        how = (
            f"stage micrometer, divisions of {options.division_um:g} um have "
            f"{ruling.division_px:.2f} px"
        )
    if not MIN_MPP <= mpp <= MAX_MPP:
        raise ConfigError(
            f"{mpp:.4g} um/px is not that of a microscope ({MIN_MPP}-{MAX_MPP}). Check the length "
            "or --division-um"
        )
    found = Objective(mpp=round(mpp, 6), how=how, glass=color)
    keep_objective(options.out, options.objective, found)
    return found


def _picture(options: CalibrateOptions) -> Pixels | None:
    if options.picture is not None:
        return read_picture(options.picture.stem, options.picture).pixels
    if options.source is None:
        return None
    source = source_of(options.source, options.asked)
    try:
        source.open()
        num = 0
        while num < WARM_FRAMES and source.grab(Event()) is not None:
            num += 1
            if not source.is_steady:
                break
        if not num:
            raise ConfigError(f"{source.name} gave no frame")
        return source.pixels()
    finally:
        source.close()
