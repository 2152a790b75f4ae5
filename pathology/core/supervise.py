"""One item in a process of its own: watched, limited in time, and survived when it crashes."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from pathology.core.errors import PathologyError

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[int], None]
POLL_S = 0.5
STOP_S = 0.05
INTERRUPTED = "the run was interrupted. Run the same command again to go on"
NO_MEMORY = "memory ran out. Use fewer --workers, or a machine with more of it"


class TookTooLong(PathologyError):
    """One item passed its time limit."""


class WorkerDied(PathologyError):
    """The process that worked on an item ended without a word, as after a crash in C code."""


@dataclass(frozen=True)
class Task(Generic[Item, Result]):
    """What is done to one item, and what its result is when that fails.

    work       work(item, report=...) gives the result; it calls report with each bit of progress
    failure    failure(item, fault, seconds, error) gives the result of an item that could not be
               done; error is the traceback of a fault nobody foresaw, else empty
    timeout_s  time limit of one item, or None
    """

    work: Callable[..., Result]
    failure: Callable[[Item, Exception, float, str], Result]
    timeout_s: float | None = None


def attempt(task: Task[Item, Result], item: Item, on_progress: Report = lambda num: None) -> Result:
    """The work on one item, in this process; what goes wrong becomes the item's result."""
    start = time.perf_counter()

    def report(num: int) -> None:
        on_progress(num)
        if task.timeout_s is not None and time.perf_counter() - start > task.timeout_s:
            raise too_long(task.timeout_s)

    try:
        return task.work(item, report=report)
    except (PathologyError, OSError) as fault:
        log.debug("refused", exc_info=fault)
        return task.failure(item, fault, time.perf_counter() - start, "")
    except MemoryError:
        return task.failure(item, WorkerDied(NO_MEMORY), time.perf_counter() - start, "")
    except Exception as surprise:  # noqa: BLE001  a bug on one slide must not lose the night's batch
        text = traceback.format_exc()
        return task.failure(item, surprise, time.perf_counter() - start, text)


def attempt_in_time(task: Task[Item, Result], item: Item) -> Result:
    """The work on one item in a thread that is left to itself when time is up.

    For a dask worker, which may not start processes of its own and must stay of use to others.
    """
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(attempt(task, item)), daemon=True)
    thread.start()
    thread.join(task.timeout_s)
    if not results:
        return task.failure(item, too_long(task.timeout_s or 0.0), task.timeout_s or 0.0, "")
    return results[0]


def too_long(timeout_s: float) -> TookTooLong:
    """The fault of an item that passed its time limit."""
    return TookTooLong(
        f"took longer than {timeout_s:g} s and was stopped. Raise --timeout, or check the file"
    )


def prepare_workers(preload: Sequence[str]) -> None:
    """Start the process that workers are forked from, and have it import modules meanwhile."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.get_context("forkserver").set_forkserver_preload(list(preload))
    resource_tracker.ensure_running()  # which would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for us alone
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def stopping_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set before they interrupt the main thread."""
    stop = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        stop.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def supervise(
    task: Task[Item, Result], item: Item, stop: threading.Event, on_progress: Report
) -> Result:
    """Run one item in a fresh process, forward its progress, and put an end to it if need be."""
    start = time.perf_counter()
    try:
        process, receiver = _start(task, item)
    except OSError as fault:  # no more processes or files, for now
        return task.failure(item, fault, time.perf_counter() - start, "")
    try:
        while True:
            wait([receiver, process.sentinel], timeout=POLL_S)
            while receiver.poll():
                kind, value = pickle.loads(receiver.recv_bytes())  # noqa: S301  our own child's
                if kind == "result":  # all is done and on disk: its process may be ended
                    return value  # type: ignore[no-any-return]
                on_progress(value)
            _require_alive(process, receiver, stop)
            if task.timeout_s is not None and time.perf_counter() - start > task.timeout_s:
                raise too_long(task.timeout_s)
    except (EOFError, OSError):  # the end, between two messages or in the midst of one
        process.join(POLL_S)
        return task.failure(item, _died(process, stop), time.perf_counter() - start, "")
    except PathologyError as fault:
        return task.failure(item, fault, time.perf_counter() - start, "")
    finally:
        process.kill()
        process.join()
        receiver.close()


def _require_alive(process: Any, receiver: Connection, stop: threading.Event) -> None:
    if stop.is_set():
        raise WorkerDied(INTERRUPTED)
    if not process.is_alive() and not receiver.poll():
        raise _died(process, stop)


def _context() -> Any:
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


def _start(task: Task[Any, Any], item: Any) -> tuple[Any, Connection]:
    """A new process at work on the item, and the end of the pipe that it reports to."""
    receiver, sender = _context().Pipe(duplex=False)
    process = _context().Process(target=_serve, args=(sender, task, item), daemon=True)
    with sender:
        try:
            process.start()
        except BaseException:
            receiver.close()
            raise
    return process, receiver


def _serve(sender: Connection, task: Task[Any, Any], item: Any) -> None:
    """In the worker process: do the item and send what comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with sender:
        result = attempt(task, item, lambda num: _send(sender, "progress", num))
        _send(sender, "result", result)


def _send(sender: Connection, kind: str, value: object) -> None:
    """By value: of torch's tensors a pipe sends a handle, which dies with the process."""
    sender.send_bytes(pickle.dumps((kind, value), pickle.HIGHEST_PROTOCOL))


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went, and go too: nobody waits for the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _died(process: Any, stop: threading.Event) -> WorkerDied:
    code = process.exitcode
    if stop.wait(STOP_S) or code == -signal.SIGTERM:  # a signal to all of us may reach it first
        return WorkerDied(INTERRUPTED)
    if code == -signal.SIGKILL:
        return WorkerDied(f"its process was killed (signal SIGKILL), perhaps because {NO_MEMORY}")
    how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
    return WorkerDied(
        f"the reader crashed on this slide ({how}). Check the file in a viewer, or convert it"
    )
