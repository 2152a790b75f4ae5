"""Encoded tiles in memory, up to so many bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable


class TileCache:
    """The most recently used tiles. Threads share it.

    max_bytes  of what is kept; a tile larger than that is not
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        """A tile, or None."""
        with self._lock:
            data = self._tiles.get(key)
            if data is not None:
                self._tiles.move_to_end(key)
            return data

    def put(self, key: Hashable, data: bytes) -> None:
        """Keep a tile, and let go of the longest unused ones."""
        if len(data) > self.max_bytes:
            return
        with self._lock:
            self.num_bytes += len(data) - len(self._tiles.pop(key, b""))
            self._tiles[key] = data
            while self.num_bytes > self.max_bytes:
                _, oldest = self._tiles.popitem(last=False)
                self.num_bytes -= len(oldest)
