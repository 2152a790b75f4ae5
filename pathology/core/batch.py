"""The same work on every slide of a batch, by dask: here in processes of its own, or on a cluster.

A slide's fault costs that slide. Here each slide runs in a fresh process: a reader that hangs is
stopped after a time limit, one that crashes takes nobody along, and memory is given back. On a
cluster dask's own nannies do the same for its workers.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic

from pathology.core.errors import PathologyError
from pathology.core.supervise import (
    Item,
    Report,
    Result,
    Task,
    WorkerDied,
    attempt,
    attempt_in_time,
    stopping_on_signal,
    supervise,
)

CONNECT_S = 5
ADDRESS = re.compile(
    r"inproc://\S+|((tcp|tls|ws|wss|ucx)://)?(\[[\da-fA-F:]+\]|[^\s/:\[\]]+):\d{1,5}/?"
)


@dataclass(frozen=True)
class Batch(Generic[Item, Result]):
    """A task, and how it is spread over items.

    workers    slides at once, each in a process of its own; 0: one after the other, in this one
    scheduler  address of a dask.distributed scheduler to use instead, tcp://host:port
    """

    task: Task[Item, Result]
    workers: int = 0
    scheduler: str | None = None

    def run(
        self,
        items: Sequence[Item],
        on_result: Callable[[Result], None] = lambda result: None,
        on_progress: Report = lambda num: None,
    ) -> list[Result]:
        """The result of every item, in their order; on_result hears of each as it comes."""
        lock = threading.Lock()

        def tell(result: Result) -> Result:
            with lock:
                on_result(result)
            return result

        with stopping_on_signal() as stop:
            if self.scheduler:
                return self._run_on_cluster(items, tell)
            if self.workers <= 0:
                return [tell(attempt(self.task, item, on_progress)) for item in items]
            return self._run_in_processes(
                items, lambda item: tell(supervise(self.task, item, stop, on_progress)), stop
            )

    def _run_in_processes(
        self, items: Sequence[Item], do: Callable[[Item], Result], stop: threading.Event
    ) -> list[Result]:
        if min(self.workers, len(items)) <= 1:  # nothing to spread
            with ThreadPoolExecutor(1) as pool:  # a signal must not hit the start of a worker
                try:
                    return list(pool.map(do, items))
                finally:
                    stop.set()
        import dask.threaded

        results: dict[int, Result] = {}
        waiting, lock = iter(enumerate(items)), threading.Lock()

        def next_one() -> None:  # in the items' order, which dask's own would not be
            with lock:
                number, item = next(waiting)
            results[number] = do(item)

        graph: dict[Any, Any] = {("item", number): (next_one,) for number in range(len(items))}
        with ThreadPoolExecutor(self.workers) as pool:  # whose end waits for what still runs
            try:
                dask.threaded.get(graph, list(graph), pool=pool)
            finally:
                stop.set()
        return [results[number] for number in range(len(items))]

    def _run_on_cluster(
        self, items: Sequence[Item], tell: Callable[[Result], Result]
    ) -> list[Result]:
        from distributed import as_completed

        results: dict[int, Result] = {}
        with self._client() as client:
            futures = [self._submit(client, item) for item in items]
            numbers = {future: number for number, future in enumerate(futures) if future}
            died = [number for number, future in enumerate(futures) if not future]
            for future in as_completed(numbers, loop=client.loop):
                result, fault = _gathered(future)
                if fault:
                    died.append(numbers[future])
                else:
                    results[numbers[future]] = tell(result)
            for number in sorted(died):  # again, alone: some only shared a worker with the culprit
                result, fault = _gathered(self._submit(client, items[number]))
                if fault:
                    lost = WorkerDied(f"its dask worker died or was lost ({fault:.200})")
                    result = self.task.failure(items[number], lost, 0.0, "")
                results[number] = tell(result)
        return [results[number] for number in range(len(items))]

    def _submit(self, client: Any, item: Item) -> Any:
        if client.status != "running":
            return None
        return client.submit(attempt_in_time, self.task, item, pure=False)

    def _client(self) -> Any:
        """A connection to the scheduler. Raises PathologyError where none answers."""
        from distributed import Client

        if not ADDRESS.fullmatch(self.scheduler or ""):
            raise PathologyError(
                f"{self.scheduler!r} is not the address of a dask scheduler. Give tcp://host:port"
            )
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a lost item's row says why
        try:
            return Client(self.scheduler, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise PathologyError(
                f"no dask scheduler answers at {self.scheduler}. Start one with 'dask scheduler' "
                "and 'dask worker tcp://...', or leave --scheduler out"
            ) from error


def _gathered(future: Any) -> tuple[Any, str]:
    """The result of a dask future, and why there is none: empty where there is one."""
    from distributed.scheduler import KilledWorker

    fault: BaseException | None = None
    try:
        fault = future and future.exception()  # which waits for it
        if future and fault is None and future.status == "finished":
            return future.result(), ""
    except (KilledWorker, CancelledError, OSError, RuntimeError) as lost:
        fault = lost
    return None, repr(fault) if fault is not None else "the scheduler is gone"
