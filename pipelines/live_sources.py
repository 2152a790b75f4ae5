"""What a word on the command line means as a source of frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pathology.core.errors import ConfigError
from pathology.inference.folder_source import FolderSource
from pathology.inference.frame import FrameSource
from pathology.inference.micromanager_source import MicroManagerSource
from pathology.inference.opencv_source import OpenCvSource
from pathology.inference.simulated_source import SimulatedSource
from pathology.simulate.microscope import MicroscopeConfig

HD = (1920, 1080)
SIMULATED_MPP, SIMULATED_FPS = 0.345, 15.0  # 10x and pixels of 3.45 um
MICROMANAGER, SIMULATED = "micromanager", "simulated:"
NETWORK = ("http://", "https://", "rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://")
EXPECTED = (
    "Give a camera's number or device (0, /dev/video0), a video file, a folder that pictures come "
    "into, an address (http://, rtsp://), micromanager or micromanager:CONFIG.cfg, or "
    "simulated:SLIDE"
)


@dataclass(frozen=True)
class SourceOptions:
    """What is asked of a source; each takes what concerns it.

    size  (width, height) of frames
    mpp   of a simulated camera
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    mpp: float | None = None
    assume_mpp: float | None = None


def source_of(word: str, options: SourceOptions) -> FrameSource:
    """The source that a word names. Raises ConfigError where it names none, or no video."""
    if word.isdecimal() or re.fullmatch(r"/dev/video\d+", word):
        address = int(word) if word.isdecimal() else word
        return OpenCvSource(address, size=options.size or HD, fps=options.fps)
    if word.lower().startswith(NETWORK):
        return OpenCvSource(word)
    if word == MICROMANAGER or word.startswith(f"{MICROMANAGER}:"):
        config = word.partition(":")[2]
        return MicroManagerSource(_existing(config) if config else None)
    if word.startswith(SIMULATED):
        optics = MicroscopeConfig(size_px=options.size or HD, mpp=options.mpp or SIMULATED_MPP)
        return SimulatedSource(
            _existing(word.removeprefix(SIMULATED)), optics, assume_mpp=options.assume_mpp,
            fps=options.fps or SIMULATED_FPS,
        )  # fmt: skip
    path = Path(word)
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return _video(path)
    raise ConfigError(f"source {word!r}: no such file, folder or camera. {EXPECTED}")


def size_of(text: str | None) -> tuple[int, int] | None:
    """Width and height of 1920x1080. Raises ConfigError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text.lower())
    if found is None:
        raise ConfigError(f"--size {text}: expected WIDTHxHEIGHT, e.g. 1920x1080")
    return int(found[1]), int(found[2])


def _video(path: Path) -> OpenCvSource:
    """A video file whose first frame could be decoded."""
    source = OpenCvSource(path)
    try:
        source.open()
        source.grab(Event())
        source.pixels()
    finally:
        source.close()
    return source


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise ConfigError(f"{path}: no such file. {EXPECTED}")
    return path
