"""Frames of a camera that Micro-Manager drives. The door to pymmcore-plus, an optional extra."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ConfigError
from pathology.inference.frame import SourceLost
from pathology.slides.reader import Pixels

WAIT_S = 0.002
SILENT_S = 5.0
COLOR = "32bitRGB"


class MicroManagerSource:
    """The camera of a Micro-Manager configuration; None: its own demonstration.

    Its pixel size is taken where the configuration has one for the objective in use.
    """

    is_steady = True

    def __init__(self, config: Path | None = None) -> None:
        self.config = config
        self.name = f"Micro-Manager {config.name if config else 'DemoCamera'}"
        self.is_simulated = config is None
        self._core: Any = None
        self._image: Any = None

    def open(self) -> float | None:
        """Load the configuration and start the camera. Raises SourceLost, or ConfigError."""
        self.close()
        core = _new_core()
        try:
            core.loadSystemConfiguration(*([str(self.config)] if self.config else []))
            camera = core.getCameraDevice()
            if not camera:
                raise ConfigError(f"{self.name}: its configuration names no camera")
            if core.hasProperty(camera, "PixelType"):
                offered = core.getAllowedPropertyValues(camera, "PixelType")
                if COLOR in offered:
                    core.setProperty(camera, "PixelType", COLOR)
            core.startContinuousSequenceAcquisition(0)
        except (RuntimeError, OSError) as error:
            raise SourceLost(f"{self.name}: {' '.join(str(error).split())[:200]}") from error
        self._core = core
        size_um = float(core.getPixelSizeUm())
        return size_um if size_um > 0 and not self.is_simulated else None

    def grab(self, stop: Event) -> float | None:
        """When the next image was there. Raises SourceLost where the camera has stopped."""
        core = self._running()
        give_up = time.monotonic() + SILENT_S
        try:
            while not core.getRemainingImageCount():
                if stop.wait(WAIT_S):
                    return None
                if time.monotonic() > give_up or not core.isSequenceRunning():
                    raise SourceLost(f"{self.name}: its camera gives no more images")
            captured_at = time.monotonic()
            self._image = core.popNextImage()
            for _ in range(core.getRemainingImageCount()):
                self._image = core.popNextImage()
        except RuntimeError as error:
            raise SourceLost(f"{self.name}: {' '.join(str(error).split())[:200]}") from error
        return captured_at

    def pixels(self) -> Pixels:
        """The image, RGB."""
        return to_rgb(np.asarray(self._image), int(self._running().getImageBitDepth()))

    def _running(self) -> Any:
        if self._core is None:
            raise SourceLost(f"{self.name} is not open")
        return self._core

    def close(self) -> None:
        """Stop the camera and unload its drivers."""
        core, self._core = self._core, None
        if core is not None:
            try:
                core.stopSequenceAcquisition()
                core.unloadAllDevices()
            except RuntimeError:
                return  # it is gone, which is what was wanted


def to_rgb(image: NDArray[np.generic], bit_depth: int) -> Pixels:
    """8-bit RGB (H, W, 3) of an image (H, W) or (H, W, 3), of that many bits a channel."""
    values = image
    if values.dtype != np.uint8:
        values = np.right_shift(values.astype(np.uint16), max(0, bit_depth - 8))
    pixels = np.ascontiguousarray(np.minimum(values, 255).astype(np.uint8))
    if pixels.ndim == 2:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    return pixels[..., :3]


def _new_core() -> Any:
    try:
        from pymmcore_plus import CMMCorePlus
    except ImportError as error:
        raise ConfigError(
            "Micro-Manager needs a package: pip install 'pathology[micromanager]'"
        ) from error
    return CMMCorePlus()
