"""Progress for people: a bar with rates in a terminal, a plain line a slide elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID


LINE_EVERY_S = 15.0


class Shown(Protocol):
    """What a long command tells of itself."""

    def step(self, num: int) -> None:
        """So many more units (tiles) were worked on."""
        ...

    def item(self, line: str) -> None:
        """One more item (slide) is finished; line says how."""
        ...


@contextmanager
def progress(
    title: str, num_items: int, unit: str = "tiles", items: str = "slides"
) -> Iterator[Shown]:
    """Show work on num_items items; on standard error, so that output can be piped.

    Where units are told, how many a second, and what time is left for the items.
    """
    if not sys.stderr.isatty():
        yield _Lines(num_items, unit)
        return
    bar = _Bar(title, num_items, unit, items)
    with bar.bar:
        yield bar


def clock(seconds: float) -> str:
    """Seconds as a clock shows them, to the second.

    >>> clock(7.4), clock(754), clock(7300)
    ('0:07', '12:34', '2:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def download_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A function that shows how much of a file has arrived: (file, done, total) in bytes."""
    if not sys.stderr.isatty():
        yield lambda file, done, total: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total)
            bar.update(tasks[file], completed=done, total=total)

        yield show


@contextmanager
def counting(title: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
    """A function that shows how far work has come: (units done, what else to say).

    A bar with rate and time left in a terminal; elsewhere a line now and then.
    """
    if not sys.stderr.isatty():
        yield _counting_lines(title, total, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} " + unit),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task, start = bar.add_task(title, total=total, said=""), time.perf_counter()

        def show(done: int, said: str) -> None:
            rate = done / max(time.perf_counter() - start, 1e-9)
            bar.update(task, completed=done, said=f"{rate:.1f} {unit}/s  {said}")

        yield show


def _counting_lines(title: str, total: int, unit: str) -> Callable[[int, str], None]:
    told = [time.monotonic()]

    def show(done: int, said: str) -> None:
        if done == total or time.monotonic() - told[0] > LINE_EVERY_S:
            told[0] = time.monotonic()
            print(f"{title}: {done}/{total} {unit}, {said}", file=sys.stderr, flush=True)

    return show


class _Lines:
    def __init__(self, num_items: int, unit: str) -> None:
        self.num_items, self.num_done, self.unit = num_items, 0, unit
        self.num_units, self.start = 0, time.perf_counter()

    def step(self, num: int) -> None:
        """Only counted: a line for each slide is enough in a log."""
        self.num_units += num

    def item(self, line: str) -> None:
        self.num_done += 1
        pace = self._pace() if self.num_units else ""
        print(f"[{self.num_done}/{self.num_items}] {line}{pace}", file=sys.stderr, flush=True)

    def _pace(self) -> str:
        seconds = max(time.perf_counter() - self.start, 1e-9)
        left = seconds / self.num_done * max(0, self.num_items - self.num_done)
        rate = self.num_units / seconds
        return f" [{rate:,.0f} {self.unit}/s, {clock(left)} left]"


class _Bar:
    def __init__(self, title: str, num_items: int, unit: str, items: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.unit, self.num_units, self.start = unit, 0, time.perf_counter()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} " + items),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task(title, total=num_items, rate="")

    def step(self, num: int) -> None:
        self.num_units += num
        rate = self.num_units / (time.perf_counter() - self.start)
        said = f"{self.num_units:,} {self.unit}, {rate:,.0f}/s"
        self.bar.update(self.task, rate=said)

    def item(self, line: str) -> None:
        self.bar.advance(self.task)
        self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
