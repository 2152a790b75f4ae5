"""Work that goes wrong, where child processes can import it. Light, as each of them does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from pathology.core.errors import PathologyError

HOG_BYTES = 400 << 20


def work(item: str, *, report: Callable[[int], None]) -> str:
    """Do the deed that the item names; any other name is work that succeeds."""
    report(1)
    DEEDS.get(item, int)()
    report(1)
    return f"{item} done"


def spin() -> None:
    """Keep the interpreter to itself, unlike a sleep."""
    while True:
        pass


def refuse() -> None:
    """Fail by name."""
    raise PathologyError("refused in order")


DEEDS: dict[str, Callable[[], object]] = {
    "hang": lambda: time.sleep(600),
    "spin": spin,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(3),
    "hog": lambda: len(bytearray(HOG_BYTES)),
    "too_much": lambda: bytearray(1 << 60),
    "unforeseen": lambda: {}["nobody thought of this"],
    "refuse": refuse,
}


def failure(item: str, fault: Exception, seconds: float, error: str) -> str:
    """The result of an item that failed."""
    return f"{item} failed: {type(fault).__name__}: {fault}{' TRACED' if error else ''}"
