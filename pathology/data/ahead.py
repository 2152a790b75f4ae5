"""Reading ahead: what will be asked for next is made in threads meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(
    pool: ThreadPoolExecutor, make: Callable[[Item], Made], items: Iterable[Item], depth: int
) -> Iterator[Made]:
    """make(item) of each item in order, depth of them at work or waiting."""
    futures = (pool.submit(make, item) for item in items)
    waiting = list(islice(futures, depth))
    while waiting:
        made = waiting.pop(0).result()
        waiting += islice(futures, 1)
        yield made


class Ahead(Generic[Made]):
    """make(step) for steps that are asked for one after the other, the next ones in threads.

    seconds  that were spent waiting
    """

    def __init__(
        self, pool: ThreadPoolExecutor, make: Callable[[int], Made], last: int, depth: int
    ) -> None:
        self.pool, self.make, self.last, self.depth = pool, make, last, depth
        self._waiting: dict[int, Future[Made]] = {}
        self.seconds = 0.0

    def __call__(self, step: int) -> Made:
        """What make gives for a step."""
        for number in range(step, min(step + self.depth, self.last)):
            if number not in self._waiting:
                self._waiting[number] = self.pool.submit(self.make, number)
        start = time.perf_counter()
        future = self._waiting.pop(step, None)
        made = self.make(step) if future is None else future.result()
        self.seconds += time.perf_counter() - start
        return made
