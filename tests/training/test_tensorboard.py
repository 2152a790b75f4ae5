"""Measurements for TensorBoard: all of them, and by one process alone."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pathology.training.loop import Values
from pathology.training.tensorboard import also_to

pytest.importorskip("tensorboard")
PROGRAM = """
import sys, time
from pathlib import Path
from tensorboard.summary.writer.record_writer import RecordWriter
from pathology.training.tensorboard import also_to
write = RecordWriter.write
RecordWriter.write = lambda writer, data: (time.sleep(0.01), write(writer, data))
watch = also_to(Path(sys.argv[1]), lambda step, values: None)
for step in range(25):
    watch(step, {"cycle": step / 4})
"""


def read(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("cycle")]


def test_a_short_training_leaves_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    told: list[int] = []
    write: Callable[[RecordWriter, bytes], None] = RecordWriter.write

    def write_slowly(writer: RecordWriter, data: bytes) -> None:
        time.sleep(0.01)  # as on a busy machine: some steps still wait at the end
        write(writer, data)

    monkeypatch.setattr(RecordWriter, "write", write_slowly)

    def train() -> None:
        watch = also_to(tmp_path, lambda step, values: told.append(step))
        for step in range(25):
            watch(step, {"cycle": step / 4})

    train()
    assert told == list(range(25))
    assert read(tmp_path) == [(step, step / 4) for step in range(25)]


def test_so_does_a_program_that_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert read(tmp_path) == [(step, step / 4) for step in range(25)]


def test_processes_but_the_first_write_nothing(tmp_path: Path) -> None:
    def on_step(step: int, values: Values) -> None:
        pass

    assert also_to(tmp_path / "board", on_step, is_first=False) is on_step
    assert not (tmp_path / "board").exists()
