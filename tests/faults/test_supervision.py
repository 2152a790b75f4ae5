"""Items that hang, crash or run out of memory cost themselves, and a stopped run leaves nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import HERE, all_gone, environment, family, wait_until
from faulty_work import HOG_BYTES, failure, work

from pathology.core.batch import Batch
from pathology.core.supervise import Task, prepare_workers


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes import faulty_work, and do so before it counts as an item's time."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    prepare_workers(["faulty_work", "pathology.core.supervise"])
    Batch(Task(work, failure), workers=1).run(["a"])


def test_each_fault_costs_its_own_item_and_order_is_kept() -> None:
    items = ["a", "crash", "refuse", "b", "unforeseen", "exit", "too_much", "c"]
    heard, steps = [], []
    results = Batch(Task(work, failure), workers=2).run(items, heard.append, steps.append)
    assert sorted(heard) == sorted(results), "on_result hears of each exactly once"
    assert [result.split(" ")[0] for result in results] == items, "in the items' order"
    said = dict(zip(items, results, strict=True))
    assert {i for i in items if said[i].endswith("done")} == {"a", "b", "c"}
    assert "SIGSEGV" in said["crash"] and "exit code 3" in said["exit"]
    assert said["refuse"] == "refuse failed: PathologyError: refused in order"
    assert "KeyError" in said["unforeseen"] and said["unforeseen"].endswith("TRACED")
    assert "memory ran out" in said["too_much"]
    assert sum(steps) >= 2 * 3 + 3, "progress of the sound ones and of those that spoke first"


def test_items_that_hang_are_stopped_in_time() -> None:
    before = set(psutil.Process().children(recursive=True))
    items = ["hang", "spin", "a", "b"]
    start = time.monotonic()
    results = Batch(Task(work, failure, timeout_s=2.5), workers=2).run(items)
    assert time.monotonic() - start < 8
    assert all("took longer than 2.5 s" in result for result in results[:2])
    assert results[2:] == ["a done", "b done"]
    time.sleep(0.1)
    after = set(psutil.Process().children(recursive=True)) - before
    assert not [p for p in after if p.status() == psutil.STATUS_RUNNING], "a worker still spins"


def test_memory_is_given_back() -> None:
    before = psutil.Process().memory_info().rss
    results = Batch(Task(work, failure), workers=1).run(["hog"] * 3)
    assert results == ["hog done"] * 3
    assert psutil.Process().memory_info().rss - before < HOG_BYTES / 4
    children = psutil.Process().children(recursive=True)
    assert sum(child.memory_info().rss for child in children) < HOG_BYTES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [False, True], ids=["parent", "group"])
def test_a_signal_ends_the_run_at_once(
    tmp_path: Path, number: signal.Signals, whole_group: bool
) -> None:
    written = tmp_path / "results.txt"
    words = [sys.executable, str(HERE / "batch_program.py"), str(written)]
    process = subprocess.Popen(
        [*words, "a", "hang", "b", "hang", "c"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    wait_until(lambda: written.exists() and written.read_text().count("\n") == 2, 20, "a and b")
    time.sleep(0.3)  # until the second one hangs as well
    relatives, start = family(process), time.monotonic()
    if whole_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, complaints = process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - start < 4
    assert "Traceback" not in complaints, complaints
    all_gone(relatives)
    lines = written.read_text(encoding="utf-8").splitlines()
    assert sum(line.endswith("done") for line in lines) == 2
    assert all("interrupted" in line for line in lines if "failed" in line)


def test_a_killed_parent_leaves_no_orphans(tmp_path: Path) -> None:
    written = tmp_path / "results.txt"
    words = [sys.executable, str(HERE / "batch_program.py"), str(written), "a", "hang", "spin"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    wait_until(lambda: written.exists() and "a done" in written.read_text(), 20, "a")
    time.sleep(0.5)
    relatives = family(process)
    process.kill()
    all_gone(relatives)
    assert "Traceback" not in process.communicate(timeout=5)[1]
