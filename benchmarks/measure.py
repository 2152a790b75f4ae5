"""Run a command and measure its wall time and the peak memory of its whole process tree."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_EVERY_S = 0.1  # each sample costs milliseconds of the cores that are measured
PSS_EVERY = 5  # samples; this one costs seven milliseconds a process


@dataclass(frozen=True)
class Run:
    """One finished command; problem is None if it exited with 0.

    peak_rss_bytes  pages that processes share count once for each
    peak_pss_bytes  they count once in all; 0 where that was not asked for, or cannot be told
    """

    seconds: float
    cpu_s: float
    peak_rss_bytes: int
    stdout: str
    problem: str | None
    peak_pss_bytes: int = 0


class TreeWatch:
    """Samples a process and all its descendants.

    peak_rss_bytes  largest sum of resident memory; pages they share count once for each
    peak_pss_bytes  the same with shared pages counted once in all, looked at less often
    """

    def __init__(self, pid: int, *, with_pss: bool = False) -> None:
        self.root = psutil.Process(pid)
        self.peak_rss_bytes = self.peak_pss_bytes = 0
        self._with_pss, self._num_samples = with_pss, 0
        self._cpu_s: dict[int, float] = {}

    @property
    def cpu_s(self) -> float:
        """Processor time of all seen, also of those whose parent never waited for them."""
        return sum(self._cpu_s.values())

    def sample(self) -> None:
        rss_bytes = pss_bytes = 0
        is_pss_due = self._with_pss and self._num_samples % PSS_EVERY == 0
        self._num_samples += 1
        with contextlib.suppress(psutil.Error):
            for process in [self.root, *self.root.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    if is_pss_due:
                        pss_bytes += getattr(process.memory_full_info(), "pss", 0)
                    rss_bytes += process.memory_info().rss
                    times = process.cpu_times()
                    self._cpu_s[process.pid] = times.user + times.system
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss_bytes)
        self.peak_pss_bytes = max(self.peak_pss_bytes, pss_bytes)


def children_cpu_s() -> float:
    """Processor time of all child processes that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [*root.children(recursive=True), root]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def run_measured(
    command: Sequence[str | Path], timeout_s: float = 3600, *, with_pss: bool = False
) -> Run:
    """Run to the end, sampling memory from a thread so that the wall time stays exact."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        is_over = threading.Event()
        cpu_before = children_cpu_s()
        start = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=stdout, stderr=stderr)

        tree = TreeWatch(process.pid, with_pss=with_pss)

        def watch() -> None:
            while not is_over.wait(SAMPLE_EVERY_S):
                tree.sample()

        watcher = threading.Thread(target=watch)
        watcher.start()
        problem = None
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()
            problem = f"stopped after {timeout_s:.0f} s"
        seconds = time.perf_counter() - start
        is_over.set()
        watcher.join()
        stdout.seek(0)
        stderr.seek(0)
        if problem is None and process.returncode:
            problem = last_words(stderr.read()) or f"exit status {process.returncode}"
        cpu_s = max(tree.cpu_s, children_cpu_s() - cpu_before)
        return Run(seconds, cpu_s, tree.peak_rss_bytes, stdout.read(), problem, tree.peak_pss_bytes)


def last_line(text: str) -> str:
    """The last line that is not blank."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def last_words(text: str) -> str:
    """The same, short enough for a table; in a traceback it is the error."""
    return last_line(text)[:200]


def read_through(path: Path) -> None:
    """Bring a file into the page cache, so that no contender pays for the disk."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def keep_to_cores(num_cores: int) -> list[int]:
    """Bind this process, and with it all its children, to its first cores; returns them."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        return list(range(os.cpu_count() or 1))
    cores = sorted(os.sched_getaffinity(0))[:num_cores]
    os.sched_setaffinity(0, cores)
    return cores
