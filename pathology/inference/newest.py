"""A box of one slot between two threads: the newest wins, what it replaces is counted."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Holds at most one item. Putting never waits, so that a slow reader slows nobody down."""

    def __init__(self) -> None:
        self._item: Item | None = None
        self._changed = Condition()
        self._is_closed = False
        self._num_dropped = self._num_waiting = 0

    @property
    def num_dropped(self) -> int:
        """Items so far that nobody took before a newer one came."""
        return self._num_dropped

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for an item that is not there yet."""
        with self._changed:
            return self._num_waiting > 0 and self._item is None

    @property
    def is_over(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._is_closed and self._item is None

    def put(self, item: Item) -> None:
        """Put an item in, in place of one that is still there."""
        with self._changed:
            self._num_dropped += self._item is not None
            self._item = item
            self._changed.notify()

    def take(self, timeout_s: float) -> Item | None:
        """The item, waited for that long; None: there is none, or no more will come."""
        with self._changed:
            self._num_waiting += 1
            self._changed.wait_for(lambda: self._item is not None or self._is_closed, timeout_s)
            self._num_waiting -= 1
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Say that no more will come; what is in the box may still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
