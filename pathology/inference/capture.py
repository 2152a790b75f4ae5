"""The thread that fetches frames; a source that goes away is opened again when it is back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event

from pathology.inference.frame import Frame, FrameSource, SourceLost
from pathology.inference.newest import Newest

RETRY_S = 0.5
log = logging.getLogger(__name__)


def capture(
    source: FrameSource,
    box: Newest[Frame],
    stop: Event,
    *,
    on_open: Callable[[float | None], None] = lambda mpp: None,
    on_lost: Callable[[str], None] = lambda reason: None,
    retry_s: float = RETRY_S,
) -> None:
    """Put frames into the box until the source has no more or stop is set, then close the box.

    on_open  called with its microns per pixel each time it is opened
    on_lost  called with the reason each time it goes away; it is then tried again
    """
    number, num_skipped, last_reason = 0, 0, ""
    try:
        while not stop.is_set():
            try:
                on_open(source.open())
                while not stop.is_set():
                    captured_at = source.grab(stop)
                    if captured_at is None:
                        return
                    last_reason = ""
                    number += 1
                    if source.is_steady and not box.is_awaited:
                        num_skipped += 1  # the next one comes soon, and is newer
                        continue
                    pixels = source.pixels()
                    taken_ms = (time.monotonic() - captured_at) * 1e3
                    dropped = box.num_dropped + num_skipped
                    box.put(Frame(number, pixels, captured_at, taken_ms, dropped))
            except SourceLost as lost:
                if str(lost) != last_reason:
                    log.warning("%s", lost)
                last_reason = str(lost)
                on_lost(last_reason)
                source.close()
                stop.wait(retry_s)
    finally:
        source.close()
        box.close()
