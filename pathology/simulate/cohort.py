"""A labelled cohort of simulated slides and microscope frames, with its manifest."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from pathology.core.artifact import write_text
from pathology.core.errors import ConfigError
from pathology.simulate.centre import CENTRES
from pathology.simulate.faults import FAULTS, Fault
from pathology.simulate.glands import GRADES
from pathology.simulate.manifest import SimulatedRow, write_manifest
from pathology.simulate.microscope import MicroscopeConfig, write_frames
from pathology.simulate.slide import SlideConfig, simulate_slide
from pathology.simulate.tissue import simulate_tissue

# slides of one grade are dealt in fives; the last two are one case
SPLIT_OF_FIVE = ("train", "test", "val", "train", "train")
CASE_OF_FIVE = (0, 1, 2, 3, 3)
README = """\
SIMULATED SLIDES

Everything in this folder was drawn by a program (pathology.simulate, seed {seed}). It is not
tissue of any person, it has never been near a patient, and nothing measured on it says anything
about real slides.

manifest.csv   one row a slide (domain wsi) or camera frame (domain microscope)
slides/        pyramidal TIFF
frames/        JPEG images of a camera on a microscope, if any
truth/         <slide_id>.truth.png   grade map: 0 glass, 1 healthy, 2 adenoma, 3 carcinoma
               <slide_id>.truth.json  constants, among them the downsample of the maps
               <slide_id>.truth.npz   concentrations of the two stains, and the stain matrix
               <slide_id>.fault.png   where a planted fault shows, if it shows in pixels

The column simulated_fault names what is wrong with a slide on purpose.
"""


@dataclass(frozen=True, kw_only=True)
class PlannedSlide:
    """One slide before it exists; label and centre are indices into GRADES and CENTRES."""

    slide_id: str
    case_id: str
    label: int
    centre: int
    split: str
    seed: int
    fault: Fault | None = None


def plan_cohort(
    num_slides: int, seed: int, num_centres: int, faults: Sequence[Fault] = ()
) -> list[PlannedSlide]:
    """Who gets which label, centre and split: balanced, and no case in two splits.

    Faulty slides come on top of num_slides, each a training case of its own, so the sound part
    of a cohort is the same with and without them.
    """
    if num_slides < 1:
        raise ConfigError(f"num_slides is {num_slides}. Ask for at least one slide")
    if not 1 <= num_centres <= len(CENTRES):
        raise ConfigError(f"num_centres is {num_centres}. Use 1 to {len(CENTRES)}")
    unknown = [fault for fault in faults if fault not in FAULTS]
    if unknown:
        raise ConfigError(f"fault {unknown[0]!r} is unknown. Use one of {', '.join(FAULTS)}")
    plan = [_sound_slide(number, seed, num_centres) for number in range(num_slides)]
    for number, fault in enumerate(faults):
        slide = PlannedSlide(
            slide_id=f"sim_{num_slides + number:04d}",
            case_id=f"sim_case_fault_{number}",
            label=(len(GRADES) - 1 - number) % len(GRADES),
            centre=number % num_centres,
            split="train",
            seed=_derive(seed, 1, number),
            fault=fault,
        )
        plan.append(slide)
    return plan


def _sound_slide(number: int, seed: int, num_centres: int) -> PlannedSlide:
    rank, label = divmod(number, len(GRADES))
    group, place = divmod(rank, len(SPLIT_OF_FIVE))
    case = CASE_OF_FIVE[place]
    return PlannedSlide(
        slide_id=f"sim_{number:04d}",
        case_id=f"sim_case_{group:02d}_{GRADES[label]}_{case}",
        label=label,
        centre=(case + label + group) % num_centres,
        split=SPLIT_OF_FIVE[place],
        seed=_derive(seed, 0, number),
    )


def _derive(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def make_slide(
    planned: PlannedSlide,
    folder: Path,
    frames_per_slide: int = 0,
    slide_config: SlideConfig | None = None,
    microscope_config: MicroscopeConfig | None = None,
) -> list[SimulatedRow]:
    """Write one planned slide and its frames; returns their manifest rows."""
    config = slide_config or SlideConfig()
    centre = CENTRES[planned.centre]
    tissue = simulate_tissue(
        planned.seed, planned.label, size_um=config.size_um, top_share=config.top_share
    )
    truth = simulate_slide(
        folder,
        planned.slide_id,
        label=planned.label,
        seed=planned.seed,
        centre=centre,
        config=config,
        fault=planned.fault,
        tissue=tissue,
    )
    row = SimulatedRow(
        slide_id=planned.slide_id,
        case_id=planned.case_id,
        slide_path=f"slides/{planned.slide_id}.tif",
        label=truth.label,
        centre=centre.name,
        scanner=centre.scanner,
        mpp=None if planned.fault == "no_mpp" else centre.mpp,
        domain="wsi",
        split=planned.split,
        truth_path=f"truth/{planned.slide_id}.truth.png",
        simulated_fault=planned.fault or "",
    )
    if planned.fault or not frames_per_slide:
        return [row]
    frames = write_frames(
        folder,
        tissue,
        row,
        num_frames=frames_per_slide,
        centre=centre,
        config=microscope_config,
    )
    return [row, *frames]


def simulate_cohort(
    out: Path,
    *,
    num_slides: int,
    seed: int,
    num_centres: int = 3,
    frames_per_slide: int = 0,
    faults: Sequence[Fault] = (),
    slide_config: SlideConfig | None = None,
    microscope_config: MicroscopeConfig | None = None,
    workers: int = 2,
) -> Path:
    """Write a cohort into out and return the path of its manifest.csv.

    Labels are dealt in turn, centres and splits within each label; slides with a planted fault
    come on top of num_slides and have no frames. workers changes the time and nothing else; more
    than one needs a main module that can be imported, as multiprocessing does.
    """
    plan = plan_cohort(num_slides, seed, num_centres, faults)
    make = partial(
        make_slide,
        folder=out,
        frames_per_slide=frames_per_slide,
        slide_config=slide_config,
        microscope_config=microscope_config,
    )
    if workers > 1:
        spawn = get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(plan)), spawn, cv2.setNumThreads, (1,)) as pool:
            made = list(pool.map(make, plan))
    else:
        made = [make(planned) for planned in plan]
    rows = [row for rows_of_slide in made for row in rows_of_slide]
    write_text(out / "README.txt", README.format(seed=seed))
    return write_manifest(out / "manifest.csv", sorted(rows, key=lambda row: row.domain != "wsi"))
