"""Frames of a camera on a microscope, of the same tissue that the slides show."""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pathology.core.artifact import publish, write_text
from pathology.core.config import StageConfig
from pathology.core.errors import ArtifactError
from pathology.simulate.centre import CENTRES, Centre, render, to_uint8
from pathology.simulate.glands import GRADES
from pathology.simulate.manifest import SimulatedRow
from pathology.simulate.noise import FloatArray, blur, resize
from pathology.simulate.tissue import GRADES_MPP, Tissue, resample
from pathology.simulate.truth import WHAT_THIS_IS, write_map

MIN_SHARE = 0.02  # of a frame's tissue; a grade that covers less does not name the frame
SCANNER = "sim_microscope"


class MicroscopeConfig(StageConfig):
    """How a camera on a microscope sees, and how far frames differ from one another.

    size_px            (width, height) of a frame
    mpp                of a frame
    vignetting         light lost in the corners, as a fraction
    white_balance      factors on R G B: the color cast of lamp and camera
    cast_spread        deviation of the white balance from frame to frame
    defocus_um         largest deviation of the defocus blur; each frame draws its own
    motion_um          longest path the stage moves during the exposure
    noise              deviation of the sensor noise at full light, in gray levels
    jpeg_quality       1 to 100
    """

    size_px: tuple[int, int] = (1280, 960)
    mpp: float = Field(default=0.42, gt=0)
    vignetting: float = Field(default=0.35, ge=0, lt=1)
    white_balance: tuple[float, float, float] = (1.02, 0.95, 0.84)
    cast_spread: float = Field(default=0.03, ge=0)
    defocus_um: float = Field(default=0.9, ge=0)
    motion_um: float = Field(default=2.0, ge=0)
    noise: float = Field(default=4.0, ge=0)
    jpeg_quality: int = Field(default=88, ge=1, le=100)


@dataclass(frozen=True, kw_only=True)
class FrameTruth:
    """Constants of one frame, as its truth.json states them.

    x_um, y_um        top left corner on the slide
    grade_downsample  frame pixels per pixel of the grade map
    """

    slide_id: str
    label: str
    grades: tuple[str, ...]
    x_um: float
    y_um: float
    size_px: tuple[int, int]
    mpp: float
    centre: str
    seed: int
    grade_downsample: int
    note: str = WHAT_THIS_IS


def microscope_frame(
    rgb: NDArray[np.uint8], seed: int, config: MicroscopeConfig | None = None
) -> NDArray[np.uint8]:
    """What the camera delivers when rgb (rows, columns, 3) lies under the microscope."""
    config = config or MicroscopeConfig()
    return decode_jpeg(encode_jpeg(expose(rgb, seed, config), config.jpeg_quality))


def expose(rgb: NDArray[np.uint8], seed: int, config: MicroscopeConfig) -> NDArray[np.uint8]:
    """The frame before compression: defocus, motion, color cast, vignetting, sensor noise."""
    rng = np.random.default_rng([seed, 3])
    balance = np.asarray(config.white_balance) * (1 + rng.normal(0, config.cast_spread, 3))
    defocus_px = rng.uniform(0.2, 1) * config.defocus_um / config.mpp
    motion_px = rng.uniform(0, 1) * config.motion_um / config.mpp
    light = blur(rgb.astype(np.float32), defocus_px)
    light = move(light, motion_px, rng.uniform(0, math.pi))
    falloff = vignette(rgb.shape[:2], config.vignetting)
    light *= falloff[..., None] * balance.astype(np.float32)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    light += noise * np.float32(config.noise) * np.sqrt(np.maximum(light, 1) / 255)
    return to_uint8(light)


def vignette(shape: tuple[int, ...], lost: float) -> FloatArray:
    """Fraction of light, 1 in the center, 1 - lost in the corners; shape is (rows, columns)."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)
    radius2 = (x * x + y * y) / 2
    return np.asarray(1 - np.float32(lost) * radius2**1.5, np.float32)


def move(light: FloatArray, length_px: float, angle: float) -> FloatArray:
    """Blur along a straight path of length_px in direction angle, in radians."""
    if length_px < 1:
        return light
    half = math.ceil(length_px / 2)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for t in np.linspace(-length_px / 2, length_px / 2, 4 * half + 1):
        x, y = half + t * math.cos(angle), half + t * math.sin(angle)
        kernel[round(y), round(x)] += 1
    return np.asarray(cv2.filter2D(light, -1, kernel / kernel.sum()), np.float32)


def encode_jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """The image as the bytes of a JPEG file."""
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def decode_jpeg(encoded: bytes) -> NDArray[np.uint8]:
    """The image in the bytes of a JPEG file, R G B. Raises ArtifactError where there is none."""
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ArtifactError("these bytes hold no JPEG image")
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8)


def choose_corners(
    rng: np.random.Generator, tissue: Tissue, size_um: tuple[float, float], num: int
) -> list[tuple[float, float]]:
    """Top left corners in um of frames well filled with tissue, every other one on its label."""
    width, height = size_um
    room = (max(tissue.size_um[0] - width, 0), max(tissue.size_um[1] - height, 0))
    corners = []
    for number in range(num):
        wanted = tissue.grades == tissue.label + 1 if number % 2 == 0 else tissue.grades > 0
        y, x = np.nonzero(wanted[::4, ::4])
        tries = rng.integers(len(x), size=24)
        found = [
            (
                float(np.clip(x[k] * 4 - width / 2, 0, room[0])),
                float(np.clip(y[k] * 4 - height / 2, 0, room[1])),
            )
            for k in tries
        ]
        corners.append(max(found, key=lambda xy: _filled(cut_grades(tissue, xy, size_um))))
    return corners


def _filled(grades: NDArray[np.uint8]) -> float:
    return float(np.count_nonzero(grades) / grades.size)


def cut_grades(
    tissue: Tissue, corner_um: tuple[float, float], size_um: tuple[float, float]
) -> NDArray[np.uint8]:
    """The part of the tissue's grade map that a frame shows; beyond the slide lies glass."""
    x, y = (round(c / GRADES_MPP) for c in corner_um)
    width, height = (round(s / GRADES_MPP) for s in size_um)
    part = tissue.grades[y : y + height, x : x + width]
    whole = np.zeros((height, width), np.uint8)
    whole[: part.shape[0], : part.shape[1]] = part
    return whole


def frame_label(grades: NDArray[np.uint8]) -> int:
    """Index of the most malignant grade that covers at least MIN_SHARE of a frame's tissue."""
    counts = np.bincount(grades.ravel(), minlength=len(GRADES) + 1)[1:]
    shares = counts / max(1, counts.sum())
    return int(np.flatnonzero(shares >= MIN_SHARE).max(initial=0))


def cut_concentrations(
    tissue: Tissue, corner_um: tuple[float, float], config: MicroscopeConfig
) -> FloatArray:
    """Concentrations under one frame, (rows, columns, 2), at the frame's mpp."""
    width, height = config.size_px
    x, y = (round(c / tissue.mpp) for c in corner_um)
    columns = math.ceil(width * config.mpp / tissue.mpp)
    rows = math.ceil(height * config.mpp / tissue.mpp)
    part = tissue.concentrations[y : y + rows, x : x + columns]
    whole = np.zeros((rows, columns, 2), np.float32)
    whole[: part.shape[0], : part.shape[1]] = part
    return resample(whole, tissue.mpp, config.mpp)[:height, :width]


def write_frames(
    folder: Path,
    tissue: Tissue,
    like: SimulatedRow,
    *,
    num_frames: int,
    centre: Centre = CENTRES[0],
    config: MicroscopeConfig | None = None,
) -> list[SimulatedRow]:
    """Write frames of the tissue and return their rows; case and split are those of its slide.

    Images go to frames/<slide_id>_frame_NN.jpg, truth to truth/, paths are relative to folder.
    centre  who stained the glass that lies under the microscope
    """
    config = config or MicroscopeConfig()
    rng = np.random.default_rng([tissue.seed, 4])
    size_um = (config.size_px[0] * config.mpp, config.size_px[1] * config.mpp)
    rows = []
    for number, corner in enumerate(choose_corners(rng, tissue, size_um, num_frames)):
        frame_id = f"{like.slide_id}_frame_{number:02d}"
        seed = int(rng.integers(2**31))
        rgb = render(cut_concentrations(tissue, corner, config), centre)
        grades = cut_grades(tissue, corner, size_um)
        row = replace(
            like,
            slide_id=frame_id,
            slide_path=f"frames/{frame_id}.jpg",
            label=GRADES[frame_label(grades)],
            scanner=SCANNER,
            mpp=config.mpp,
            domain="microscope",
            truth_path=f"truth/{frame_id}.truth.png",
            simulated_fault="",
        )
        with publish(folder / row.slide_path) as scratch:
            scratch.write_bytes(encode_jpeg(expose(rgb, seed, config), config.jpeg_quality))
        write_frame_truth(folder, row, grades, corner, seed, config)
        rows.append(row)
    return rows


def write_frame_truth(
    folder: Path,
    row: SimulatedRow,
    grades: NDArray[np.uint8],
    corner_um: tuple[float, float],
    seed: int,
    config: MicroscopeConfig,
) -> None:
    """Write a frame's grade map, 0 glass, else grade index + 1, and its constants."""
    downsample = 8
    size = (-(-config.size_px[0] // downsample), -(-config.size_px[1] // downsample))
    path = folder / row.truth_path
    write_map(path, resize(grades, size, cv2.INTER_NEAREST).astype(np.uint8))
    truth = FrameTruth(
        slide_id=row.slide_id,
        label=row.label,
        grades=GRADES,
        x_um=round(corner_um[0], 2),
        y_um=round(corner_um[1], 2),
        size_px=config.size_px,
        mpp=config.mpp,
        centre=row.centre,
        seed=seed,
        grade_downsample=downsample,
    )
    write_text(path.with_suffix(".json"), json.dumps(asdict(truth), indent=2) + "\n")
