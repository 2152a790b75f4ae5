"""One image of a live stream, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event
from typing import Protocol

from pathology.core.errors import PathologyError
from pathology.slides.reader import Pixels


class SourceLost(PathologyError):
    """A source that gives no frames now; it may come back."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What a camera showed.

    pixels       (H, W, 3) RGB
    captured_at  when it was there, seconds of time.monotonic(), before it was decoded
    capture_ms   what decoding and conversion took since
    num_dropped  frames of the source so far that a newer one replaced before they were looked at
    """

    number: int
    pixels: Pixels
    captured_at: float
    capture_ms: float = 0.0
    num_dropped: int = 0


class FrameSource(Protocol):
    """A camera or what stands for one. All methods are called by one thread.

    name          for the reader
    is_simulated  no microscope stands behind it
    is_steady     frames come all the time: one that nobody waits for need not even be decoded
    """

    name: str
    is_simulated: bool
    is_steady: bool

    def open(self) -> float | None:
        """Start; gives microns per pixel where the source itself knows. Raises SourceLost."""
        ...

    def grab(self, stop: Event) -> float | None:
        """Wait for the next frame; when it was there, or None: there are no more.

        stop  set when nobody wants frames any longer; a wait then ends with None
        Raises SourceLost where it has gone away.
        """
        ...

    def pixels(self) -> Pixels:
        """The pixels (H, W, 3) RGB of the frame that was grabbed last. Raises SourceLost."""
        ...

    def close(self) -> None:
        """Let go of it; harmless twice."""
        ...
