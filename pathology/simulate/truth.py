"""What is true of a simulated slide, written beside it and read back."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathology.core.artifact import publish, write_text
from pathology.core.errors import ArtifactError
from pathology.simulate.centre import Centre
from pathology.simulate.faults import MASK_MPP
from pathology.simulate.glands import GRADES
from pathology.simulate.noise import FloatArray, resize
from pathology.simulate.tissue import GRADES_MPP, Tissue, resample

FORMULA = "RGB = white_level * exp(-(concentrations * amounts) @ stain_matrix)"
WHAT_THIS_IS = "Simulated H&E, drawn by a program. Not tissue of any person."


@dataclass(frozen=True, kw_only=True)
class SlideTruth:
    """Constants of one simulated slide; its truth.json holds just these.

    size                      (width, height) of level 0
    mpp                       of level 0, true even where the file does not say it
    label                     most malignant grade
    grade_fractions           share of the tissue that each grade covers
    seed, size_um, top_share  what simulate_tissue needs to grow the same tissue again
    stain_matrix              (2, 3), see Centre
    grade_downsample          level-0 pixels per pixel of the grade map and the fault mask
    concentration_downsample  level-0 pixels per pixel of the stored concentrations
    has_fault_mask            whether <slide_id>.fault.png says where the fault is
    """

    slide_id: str
    label: str
    grades: tuple[str, ...]
    grade_fractions: tuple[float, ...]
    seed: int
    size_um: tuple[int, int]
    size: tuple[int, int]
    mpp: float
    centre: str
    scanner: str
    stain_matrix: tuple[tuple[float, ...], ...]
    amounts: tuple[float, ...]
    white_level: tuple[float, ...]
    grade_downsample: int
    concentration_downsample: int
    fault: str = ""
    has_fault_mask: bool = False
    top_share: tuple[float, float] | None = None
    formula: str = FORMULA
    note: str = WHAT_THIS_IS


def state_truth(
    slide_id: str,
    tissue: Tissue,
    centre: Centre,
    *,
    grade_downsample: int,
    concentration_downsample: int,
    fault: str = "",
    has_fault_mask: bool = False,
) -> SlideTruth:
    """The constants of one slide of this tissue at this centre."""
    counts = np.bincount(tissue.grades.ravel(), minlength=len(GRADES) + 1)[1:]
    rows, columns = tissue.shape_at(centre.mpp)
    return SlideTruth(
        slide_id=slide_id,
        label=GRADES[tissue.label],
        grades=GRADES,
        grade_fractions=tuple(round(float(n / counts.sum()), 6) for n in counts),
        seed=tissue.seed,
        size_um=tissue.size_um,
        top_share=tissue.top_share,
        size=(columns, rows),
        mpp=centre.mpp,
        centre=centre.name,
        scanner=centre.scanner,
        stain_matrix=tuple(tuple(row) for row in centre.stain_matrix.tolist()),
        amounts=centre.amounts,
        white_level=centre.white_level,
        grade_downsample=grade_downsample,
        concentration_downsample=concentration_downsample,
        fault=fault,
        has_fault_mask=has_fault_mask,
    )


def write_truth(
    folder: Path, truth: SlideTruth, tissue: Tissue, fault_mask: NDArray[np.bool_] | None
) -> Path:
    """Write the truth of a slide into folder and return the path of its grade map.

    <slide_id>.truth.png   grade map: 0 glass, else grade index + 1
    <slide_id>.truth.npz   concentrations float16 (rows, columns, 2), stain_matrix, amounts,
                           white_level
    <slide_id>.truth.json  the constants
    <slide_id>.fault.png   0 or 1, only where the fault shows in the pixels
    """
    path = folder / f"{truth.slide_id}.truth.png"
    write_map(path, grade_map(tissue.grades, GRADES_MPP, truth))
    if fault_mask is not None:
        mask = grade_map(fault_mask.astype(np.uint8), MASK_MPP, truth)
        write_map(folder / f"{truth.slide_id}.fault.png", mask)
    with publish(path.with_suffix(".npz")) as scratch, scratch.open("wb") as stream:
        np.savez_compressed(
            stream,
            concentrations=stored_concentrations(tissue, truth).astype(np.float16),
            stain_matrix=np.array(truth.stain_matrix),
            amounts=np.array(truth.amounts),
            white_level=np.array(truth.white_level),
        )
    write_text(path.with_suffix(".json"), json.dumps(asdict(truth), indent=2) + "\n")
    return path


def grade_map(plan: NDArray[np.uint8], plan_mpp: float, truth: SlideTruth) -> NDArray[np.uint8]:
    """A map of small whole numbers brought to the grade map's plane: the value at each center."""
    columns, rows = (-(-n // truth.grade_downsample) for n in truth.size)
    step = truth.grade_downsample * truth.mpp / plan_mpp
    y = np.minimum(((np.arange(rows) + 0.5) * step).astype(np.intp), plan.shape[0] - 1)
    x = np.minimum(((np.arange(columns) + 0.5) * step).astype(np.intp), plan.shape[1] - 1)
    return np.asarray(plan[y[:, None], x], np.uint8)


def stored_concentrations(tissue: Tissue, truth: SlideTruth) -> FloatArray:
    """Concentrations at level 0, each block of concentration_downsample pixels averaged."""
    if truth.concentration_downsample == 1:
        return resample(tissue.concentrations, tissue.mpp, truth.mpp)
    size = (
        truth.size[0] // truth.concentration_downsample,
        truth.size[1] // truth.concentration_downsample,
    )
    return resize(tissue.concentrations, size, cv2.INTER_AREA)


def write_map(path: Path, values: NDArray[np.uint8]) -> None:
    """Write small whole numbers as a PNG, where they stay what they are."""
    with publish(path) as scratch:
        Image.fromarray(values).save(scratch, format="PNG")


def read_truth(path: Path) -> SlideTruth:
    """The constants beside a grade map; path is that of any of the slide's truth files."""
    try:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        said["stain_matrix"] = [tuple(row) for row in said["stain_matrix"]]
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
        return SlideTruth(**plain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: no truth of a simulated slide ({error})") from error


def read_grades(path: Path) -> NDArray[np.uint8]:
    """The grade map (rows, columns): 0 glass, else grade index + 1."""
    return np.asarray(Image.open(path), np.uint8)
