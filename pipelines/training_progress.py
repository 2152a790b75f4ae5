"""How far a training has come: its pace, the time left, and the terms of its loss."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.progress import LINE_EVERY_S, clock

if TYPE_CHECKING:
    from rich.console import Console

OnStep = Callable[[int, Mapping[str, float]], None]
BAR_WIDTH = 10  # so that pace and time left stand within 80 columns


class Pace:
    """How fast a training goes since its first step here, what lies between its steps included.

    tiles_per_step  of all its slides and processes; None: steps are told, whose tiles differ
    """

    def __init__(
        self,
        num_steps: int,
        tiles_per_step: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_steps, self.tiles_per_step, self.now = num_steps, tiles_per_step, now
        self.start: tuple[int, float] | None = None  # a training that goes on starts in the middle

    def said(self, done: int) -> str:
        """Pace and the time left after so many steps in all; "" after the first here."""
        now = self.now()
        if self.start is None:
            self.start = done, now
        first, began = self.start
        if done == first:
            return ""
        seconds_a_step = max(now - began, 1e-9) / (done - first)
        left = clock((self.num_steps - done) * seconds_a_step)
        if self.tiles_per_step is None:
            return f"{1 / seconds_a_step:,.1f} steps/s, {left} left"
        return f"{self.tiles_per_step / seconds_a_step:,.0f} tiles/s, {left} left"


@contextmanager
def training_progress(
    title: str, num_steps: int, tiles_per_step: int | None = None, *, is_shown: bool = True
) -> Iterator[OnStep]:
    """What a training calls at each step, with the terms of its loss.

    A bar in a terminal; elsewhere a line now and then; on standard error.
    """
    pace = Pace(num_steps, tiles_per_step)
    if not is_shown:
        yield lambda step, values: None
    elif not sys.stderr.isatty():
        yield lines(title, pace)
    else:
        from rich.console import Console

        with bar(title, pace, Console(stderr=True)) as on_step:
            yield on_step


def lines(title: str, pace: Pace) -> OnStep:
    """Prints a line at the last step, and before it at most every few seconds."""
    told = [pace.now()]

    def on_step(step: int, values: Mapping[str, float]) -> None:
        done = step + 1
        said = pace.said(done)
        if done == pace.num_steps or pace.now() - told[0] > LINE_EVERY_S:
            told[0] = pace.now()
            parts = [f"{done}/{pace.num_steps} steps", said, terms(values)]
            print(f"{title}: {', '.join(filter(None, parts))}", file=sys.stderr, flush=True)

    return on_step


@contextmanager
def bar(title: str, pace: Pace, console: Console) -> Iterator[OnStep]:
    """The same as a bar; of a narrow terminal the terms of the loss get what is left."""
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[terms]}", table_column=Column(no_wrap=True, ratio=1)),
        console=console,
        expand=True,
    )
    with shown:
        task = shown.add_task(title, total=pace.num_steps, pace="", terms="")

        def on_step(step: int, values: Mapping[str, float]) -> None:
            done = step + 1
            shown.update(task, completed=done, pace=pace.said(done), terms=terms(values))

        yield on_step


def terms(values: Mapping[str, float]) -> str:
    """Terms of a loss in a few characters."""
    return " ".join(f"{name} {value:.3f}" for name, value in values.items())
