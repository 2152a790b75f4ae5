"""Pace and time left of a training, on a terminal of 80 columns and without one."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.training_progress import Pace, bar, lines, training_progress
from tests.in_process import pathology
from tests.pipelines.weak_cohort import write_cohort

CONTROLS = r"[\r\n]*\x1b\[[?0-9;]*[A-Za-z]"
TERMS = {"tile": 0.69314, "upper": 0.25, "counted": 0.5, "slide": 1.25, "instance": 0.125}


class Clock:
    """A clock that somebody moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pace_on_paper() -> None:
    clock = Clock()
    pace = Pace(100, 192, clock)
    assert pace.said(1) == ""  # nobody knows when it began
    clock.now += 4.5
    assert pace.said(10) == "384 tiles/s, 0:45 left"
    clock.now += 10 * 3600
    assert pace.said(100) == "1 tiles/s, 0:00 left"


def test_a_training_that_goes_on_has_its_own_pace() -> None:
    clock = Clock()
    pace = Pace(1000, 100, clock)
    pace.said(901)
    clock.now += 1
    assert pace.said(911) == "1,000 tiles/s, 0:09 left"


def test_steps_are_told_where_their_tiles_differ() -> None:
    clock = Clock()
    pace = Pace(100, now=clock)
    pace.said(1)
    clock.now += 4
    assert pace.said(11) == "2.5 steps/s, 0:36 left"


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    on_step = lines("train", Pace(40, 192, clock))
    for step in range(40):
        on_step(step, {"tile": 0.5})
        clock.now += 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "train: 17/40 steps, 192 tiles/s, 0:23 left, tile 0.500",
        "train: 33/40 steps, 192 tiles/s, 0:07 left, tile 0.500",
        "train: 40/40 steps, 192 tiles/s, 0:00 left, tile 0.500",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_shows_pace_and_time_left_first(width: int) -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    with bar("train", Pace(12345, 192, clock), console) as on_step:
        on_step(0, TERMS)
        clock.now += 1000
        on_step(1000, TERMS)
    last = re.split(CONTROLS, out.getvalue().rstrip())[-2]
    assert "1001/12345 steps 192 tiles/s, 3:09:04 left tile 0.693" in last
    assert len(last) == width
    assert ("counted 0.500" in last) == (width == 120)


def test_processes_but_the_first_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress("train", 1, 192, is_shown=False) as on_step:
        on_step(0, TERMS)
    assert capsys.readouterr().err == ""


def test_the_command_shows_it(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path, 12)
    words = ["train", "weak", features, "--labels", manifest, "--out", tmp_path / "m.pt"]
    words += ["--device", "cpu", "--set", "epochs=1", "--set", "epoch_tiles=400"]
    done = pathology(*words)
    assert "train: 2/2 steps, " in done.stderr
    assert " tiles/s, 0:00 left, tile " in done.stderr
