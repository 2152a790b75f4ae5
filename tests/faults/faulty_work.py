"""Work that goes wrong, where child processes can import it; and a main program that batches it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pathology.core.batch import Batch
from pathology.core.errors import PathologyError
from pathology.core.manifest import SlideRecord
from pathology.core.supervise import Task
from pathology.slides.open import open_slide
from pathology.slides.plan import Plane
from pathology.tiling.store import TileStore

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


def tiles_of(store: TileStore, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """In another process: tiles of a store that came by pickle, and of a slide opened there."""
    reader = open_slide(SlideRecord("a", path))
    try:
        plane = Plane(0, 1, reader.levels[0].size, (1.0, 1.0))
        return store.read(slice(0, 3)), reader.read_plane(plane, (512, 512), (256, 256))
    finally:
        reader.close()


def main(folder: Path, items: list[str]) -> None:
    """Run items as the command does, each result at once into a file."""
    with (folder / "results.txt").open("a", encoding="utf-8", buffering=1) as stream:
        Batch(Task(work, failure), workers=2).run(items, lambda line: print(line, file=stream))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(130)
