"""What viewers see: the newest picture and its facts. Viewers come, go and lag as they like."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from threading import Lock
from typing import Any, NamedTuple


class View(NamedTuple):
    """A picture as JPEG, its number, and what is said of it."""

    number: int
    jpeg: bytes
    facts: Mapping[str, Any]


class Screen:
    """Holds one view. Nobody who looks at it can hold up who shows it."""

    def __init__(self) -> None:
        self._view = View(0, b"", {})
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._lock = Lock()

    @property
    def view(self) -> View:
        """What is shown now; number 0: nothing yet."""
        return self._view

    @property
    def num_waiting(self) -> int:
        """Viewers that wait for the next view."""
        return len(self._waiting)

    def show(self, jpeg: bytes, facts: Mapping[str, Any]) -> None:
        """Show another picture."""
        with self._lock:
            self._view = View(self._view.number + 1, jpeg, facts)
            for loop, event in self._waiting:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    async def after(self, number: int, timeout_s: float) -> View:
        """The newest view, once it is a later one than that number, or when time is up."""
        waiter = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if self._view.number > number:
                return self._view
            self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1].wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(waiter)
        return self._view
