"""One simulated slide on disk: a pyramidal TIFF and everything that is true about it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pathology.core.config import StageConfig
from pathology.simulate.centre import CENTRES, Centre, render, scan, sensor_noise, transmit
from pathology.simulate.faults import Fault, add_defocus, add_pen_ink, truncate
from pathology.simulate.pyramid import write_pyramid
from pathology.simulate.tissue import Tissue, resample, simulate_tissue
from pathology.simulate.truth import WHAT_THIS_IS, SlideTruth, state_truth, write_truth

BAND_ROWS = 256  # rendered at a time, so that memory stays small
BAND_MARGIN = 8  # rows beyond a band, so that its blur has no seam


class SlideConfig(StageConfig):
    """What shapes a simulated slide besides its seed, label and centre.

    size_um                   (width, height) of the slide
    top_share                 of the tissue, at least and at most, that is of the slide's grade;
                              None: 0.05 to 0.5
    grade_downsample          level-0 pixels per pixel of the grade map and the fault mask
    concentration_downsample  level-0 pixels per pixel of the stored concentrations; 1 stores all
    """

    size_um: tuple[int, int] = (1600, 1500)
    top_share: tuple[float, float] | None = None
    grade_downsample: int = Field(default=16, ge=1)
    concentration_downsample: int = Field(default=8, ge=1)


def simulate_slide(
    folder: Path,
    slide_id: str,
    *,
    label: int,
    seed: int,
    centre: Centre = CENTRES[0],
    config: SlideConfig | None = None,
    fault: Fault | None = None,
    tissue: Tissue | None = None,
) -> SlideTruth:
    """Grow, scan and write one slide: slides/<slide_id>.tif and its truth under truth/.

    label   index into GRADES
    seed    of the tissue: the same seed gives the same tissue at every centre
    tissue  what simulate_tissue gave for this seed, label and size, if it is at hand
    """
    config = config or SlideConfig()
    tissue = tissue or simulate_tissue(
        seed, label, size_um=config.size_um, top_share=config.top_share
    )
    rgb, marked = plant_fault(scan_tissue(tissue, centre), fault, seed, centre.mpp)
    path = folder / "slides" / f"{slide_id}.tif"
    mpp = None if fault == "no_mpp" else centre.mpp
    write_pyramid(path, rgb, mpp=mpp, jpeg_quality=centre.jpeg_quality, description=WHAT_THIS_IS)
    if fault == "truncated":
        truncate(path)
    truth = state_truth(
        slide_id,
        tissue,
        centre,
        grade_downsample=config.grade_downsample,
        concentration_downsample=config.concentration_downsample,
        fault=fault or "",
        has_fault_mask=marked is not None,
    )
    write_truth(folder / "truth", truth, tissue, marked)
    return truth


def scan_tissue(tissue: Tissue, centre: Centre) -> NDArray[np.uint8]:
    """Level 0, (rows, columns, 3), as the centre's scanner sees the tissue before compression."""
    rows, columns = tissue.shape_at(centre.mpp)
    rgb = np.empty((rows, columns, 3), np.uint8)
    noise = sensor_noise(centre, np.random.default_rng([tissue.seed, 1]))
    for start in range(0, rows, BAND_ROWS):
        stop = min(start + BAND_ROWS, rows)
        top = max(start - BAND_MARGIN, 0)
        bottom = min(stop + BAND_MARGIN, rows)
        band = resample(tissue.concentrations, tissue.mpp, centre.mpp, slice(top, bottom))
        image = scan(transmit(band, centre), centre, centre.mpp, np.roll(noise, -top, axis=0))
        rgb[start:stop] = image[start - top : stop - top]
    return rgb


def render_level0(tissue: Tissue, centre: Centre) -> NDArray[np.uint8]:
    """Level 0 as it would be without blur, noise and compression: the truth to compare with.

    To compare centres pixel by pixel give them one mpp: dataclasses.replace(centre, mpp=0.5).
    """
    return render(resample(tissue.concentrations, tissue.mpp, centre.mpp), centre)


def plant_fault(
    rgb: NDArray[np.uint8], fault: Fault | None, seed: int, mpp: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """The image with a fault that shows in pixels, and where it shows; or as it was, and None."""
    rng = np.random.default_rng([seed, 2])
    if fault == "pen_ink":
        return add_pen_ink(rgb, rng, mpp)
    if fault == "out_of_focus":
        return add_defocus(rgb, rng, mpp)
    return rgb, None
