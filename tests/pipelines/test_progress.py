"""What long commands tell of themselves: rates and the time that is left, bar or lines."""

import io
import re
import sys
import time
from pathlib import Path

import pytest

from pathology.weak.config import WeakConfig
from pipelines.progress import clock, progress
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.weak_cohort import write_cohort


def test_a_clock_shows_seconds() -> None:
    assert [clock(s) for s in (0.4, 59.6, 754, 7300)] == ["0:00", "1:00", "12:34", "2:01:40"]


def test_lines_have_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("predict", 3) as shown:
        shown.item("a: failed")
        time.sleep(0.05)
        shown.step(1000)
        shown.item("b: healthy")
        shown.item("c: healthy")
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "[1/3] a: failed"  # nothing was worked on yet
    said = re.fullmatch(r"\[2/3\] b: healthy \[([\d,]+) tiles/s, 0:00 left\]", second)
    assert said is not None
    assert 0 < int(said[1].replace(",", "")) <= 20_000
    assert third.startswith("[3/3] c: healthy [")


class Terminal(io.StringIO):
    """Standard error of somebody who looks on."""

    def isatty(self) -> bool:
        return True


def test_predict_tells_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, manifest = write_cohort(tmp_path, 12)
    settings = WeakConfig.model_validate({"epochs": 1, "epoch_tiles": 64, "width": 8})
    train_weak(features, manifest, tmp_path / "m.pt", settings, WeakOptions("cpu"))
    done = pathology("predict", tmp_path / "m.pt", features, "--out", tmp_path / "p.csv")
    lines = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert len(lines) == 12
    assert all(re.search(r"\[[\d,]+ tiles/s, \d+:\d\d left\]$", line) for line in lines)
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    with progress("predict", 2) as shown:
        shown.step(500)
        shown.item("a: healthy")
        time.sleep(0.3)  # the bar is drawn anew ten times a second
    assert "500 tiles, " in seen.getvalue() and "/s" in seen.getvalue()
