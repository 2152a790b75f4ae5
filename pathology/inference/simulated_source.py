"""A simulated microscope: a camera that pans over a part of a slide, held in memory."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from threading import Event

import cv2
import numpy as np

from pathology.core.errors import ConfigError
from pathology.core.manifest import SlideRecord
from pathology.inference.frame import SourceLost
from pathology.simulate.microscope import MicroscopeConfig
from pathology.simulate.stage import LiveOptics, defocus_at, stage_at
from pathology.slides.open import open_slide
from pathology.slides.plan import planes
from pathology.slides.reader import Pixels, SlideReader, read_thumbnail, scale_to
from pathology.slides.resolution import decide_spacing
from pathology.tiling.config import TissueConfig
from pathology.tiling.tissue import tissue_mask

SPEED_UM = 120.0  # a second
REACH = 3  # the stage moves over so many fields each way
FIND_MPP = 16.0


class SimulatedSource:
    """A slide under a simulated microscope. It is for trying things out, and says so.

    optics      the camera: its size, mpp, color cast, fall-off of light, noise
    assume_mpp  of a slide that states none
    fps         frames a second
    num_frames  after which there are no more; None: it goes on
    """

    is_simulated = True
    is_steady = True

    def __init__(
        self,
        slide: Path,
        optics: MicroscopeConfig,
        *,
        assume_mpp: float | None = None,
        fps: float = 15.0,
        num_frames: int | None = None,
    ) -> None:
        self.slide, self.optics, self.assume_mpp = slide, optics, assume_mpp
        self.fps, self.num_frames = fps, num_frames
        self.name = f"simulated microscope over {slide.name}"
        self._plate: Pixels | None = None
        self._camera: LiveOptics | None = None
        self._started_at, self._number = 0.0, 0

    def open(self) -> float | None:
        """Read the part of the slide with most tissue. Raises SlideError, ConfigError."""
        if self._plate is None:
            record = SlideRecord(self.slide.stem, self.slide)
            with closing(open_slide(record)) as slide:
                self._plate = _plate_of(slide, record, self.optics, self.assume_mpp)
        self._camera = LiveOptics(self.optics)
        self._started_at = time.monotonic()
        return self.optics.mpp

    def grab(self, stop: Event) -> float | None:
        """When the next frame is due; None after the last."""
        if self._plate is None or self._camera is None or self._number == self.num_frames:
            return None
        due = self._started_at + self._number / self.fps
        if stop.wait(max(0.0, due - time.monotonic())):
            return None
        self._number += 1
        return time.monotonic()

    def pixels(self) -> Pixels:
        """The field where the stage is now."""
        if self._plate is None or self._camera is None:
            raise SourceLost(f"{self.name} is not open")
        seconds = time.monotonic() - self._started_at
        width, height = self.optics.size_px
        rows, columns = self._plate.shape[:2]
        room = (columns - width, rows - height)
        x, y = stage_at(seconds, room, SPEED_UM / self.optics.mpp)
        field = self._plate[y : y + height, x : x + width]
        return self._camera.expose(np.ascontiguousarray(field), defocus_at(seconds))

    def close(self) -> None:
        """The slide was closed long ago."""
        self._camera = None


def _plate_of(
    slide: SlideReader, record: SlideRecord, optics: MicroscopeConfig, assume_mpp: float | None
) -> Pixels:
    """The slide around its densest tissue, at the camera's mpp; beyond its edge lies glass."""
    spacing = decide_spacing(record.slide_id, None, slide.facts.spacings, assume_mpp)
    mpp = spacing.mpp
    l0_width, l0_height = slide.levels[0].size
    wanted = [round(s * REACH * optics.mpp / m) for s, m in zip(optics.size_px, mpp, strict=True)]
    size = min(wanted[0], l0_width), min(wanted[1], l0_height)
    x, y = _densest(slide, mpp, size)
    scale = optics.mpp / mpp[0]
    if scale < 0.5:
        raise ConfigError(
            f"{record.slide_path}: at {mpp[0]:.3g} um/px it has too little detail for a camera of "
            f"{optics.mpp:.3g} um/px. Give --mpp {mpp[0]:.3g} or more"
        )
    plane = [p for p in planes(slide.levels, slide.max_reduction) if p.step[0] <= max(scale, 1)][-1]
    step_x, step_y = plane.step
    plane_size = max(1, int(size[0] / step_x)), max(1, int(size[1] / step_y))
    pixels = slide.read_plane(plane, (int(x / step_x), int(y / step_y)), plane_size)
    made = scale_to(
        pixels, (round(size[0] * mpp[0] / optics.mpp), round(size[1] * mpp[1] / optics.mpp))
    )
    bottom, right = (max(0, o - h) for o, h in zip(optics.size_px[::-1], made.shape, strict=False))
    glass = np.percentile(made.reshape(-1, 3)[::101], 95, axis=0).tolist()
    return np.asarray(
        cv2.copyMakeBorder(made, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=glass), np.uint8
    )


def _densest(
    slide: SlideReader, mpp: tuple[float, float], size: tuple[int, int]
) -> tuple[int, int]:
    """Corner of the rectangle of that size with most tissue, in level-0 pixels."""
    look = read_thumbnail(slide, mpp, FIND_MPP)
    share = tissue_mask(look, FIND_MPP, TissueConfig()).astype(np.float32)
    factor = [side / s for side, s in zip(slide.levels[0].size, look.shape[1::-1], strict=True)]
    box = [
        max(1, min(s, round(w / f)))
        for s, w, f in zip(look.shape[1::-1], size, factor, strict=True)
    ]
    mean = cv2.boxFilter(share, -1, (box[0], box[1]), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    mean = np.asarray(mean)[: share.shape[0] - box[1] + 1, : share.shape[1] - box[0] + 1]
    row, column = np.unravel_index(int(mean.argmax()), mean.shape)
    return int(column * factor[0]), int(row * factor[1])
