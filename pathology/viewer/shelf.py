"""Slides kept open while they are looked at: a few at a time, shared by all threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pathology.core.manifest import SlideRecord
from pathology.slides.open import open_slide
from pathology.slides.reader import SlideReader


@dataclass(eq=False)
class _Place:
    """One slide on the shelf. num_readers counts who reads it now; closing waits for them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    reader: SlideReader | None = None
    num_readers: int = 0


class Shelf:
    """The most recently used slides, open. Readers are shared, as all of ours may be by threads.

    max_open  slides beyond are closed, the longest unused first, when nobody reads them any more
    """

    def __init__(self, max_open: int = 8) -> None:
        self.max_open = max_open
        self._lock = threading.Lock()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    @contextmanager
    def reader(self, record: SlideRecord) -> Iterator[SlideReader]:
        """The record's slide for the length of a block, opened if it must be. Raises SlideError.

        Of many threads that ask for it at once, one opens it. A slide that could not be opened is
        tried again next time: its file may have come back.
        """
        place = self._take(record.slide_id)
        try:
            with place.lock:
                if place.reader is None:
                    place.reader = open_slide(record)
            yield place.reader
        finally:
            self._give_back(record.slide_id, place)

    def close(self) -> None:
        """Close all that nobody reads, and forget the rest."""
        with self._lock:
            idle = [place for place in self._places.values() if not place.num_readers]
            self._places.clear()
        _close(idle)

    def _take(self, slide_id: str) -> _Place:
        with self._lock:
            place = self._places.setdefault(slide_id, _Place())
            self._places.move_to_end(slide_id)
            place.num_readers += 1
            return place

    def _give_back(self, slide_id: str, place: _Place) -> None:
        with self._lock:
            place.num_readers -= 1
            is_known = self._places.get(slide_id) is place
            gone = [] if is_known or place.num_readers else [place]
            if is_known and place.reader is None and not place.num_readers:
                del self._places[slide_id]
            idle = [name for name, other in self._places.items() if not other.num_readers]
            surplus = max(0, len(self._places) - self.max_open)
            gone += [self._places.pop(name) for name in idle[:surplus]]
        _close(gone)


def _close(places: list[_Place]) -> None:
    for place in places:
        if place.reader is not None:
            place.reader.close()
