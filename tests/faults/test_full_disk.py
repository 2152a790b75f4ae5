"""A disk that fills up costs the slides that found no room, says so, and can be made good."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Run

LARGEST_FILE = 300_000  # bytes: more than any table, less than any shard of six_slides
DISK_BYTES = 5_000_000  # room for some of the six


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of DISK_BYTES, for root only."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def check_failures(run: Run, said: str) -> int:
    """Failed rows name the disk's fault in a line and left nothing behind; returns how many."""
    failed = [row for row in run.rows().values() if row["status"] == "failed"]
    for row in failed:
        assert said in row["reason"] and not row["error"], row
    done = {name for name, status in run.statuses().items() if status == "done"}
    assert set(run.stores()) == done
    assert not run.scratch()
    return len(failed)


def test_files_too_large(six_slides: dict[str, Path], new_run: Callable[..., Run]) -> None:
    run = new_run(six_slides)
    code, _ = run.finish("--workers", "2", limits={resource.RLIMIT_FSIZE: LARGEST_FILE})
    assert code == 1
    assert check_failures(run, "File too large") == len(six_slides)
    assert run.finish("--workers", "2")[0] == 0
    assert run.statuses() == dict.fromkeys(six_slides, "done")


def test_a_full_disk(
    six_slides: dict[str, Path], new_run: Callable[..., Run], small_disk: Path
) -> None:
    run = new_run(six_slides, small_disk / "run")
    code, complaints = run.finish("--workers", "2")
    assert code == 1, complaints
    assert 0 < check_failures(run, "No space left on device") < len(six_slides)
    subprocess.run(["mount", "-o", f"remount,size={10 * DISK_BYTES}", str(small_disk)], check=True)
    assert run.finish("--workers", "2")[0] == 0
    assert run.statuses() == dict.fromkeys(six_slides, "done")
    assert not run.scratch()


def test_a_disk_without_any_room(
    six_slides: dict[str, Path], new_run: Callable[..., Run], small_disk: Path
) -> None:
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    run = new_run(six_slides, small_disk / "run")
    code, complaints = run.finish("--workers", "2")
    assert code == 2, "nothing could even begin"
    assert complaints.strip().splitlines()[-1].startswith("No space left on device")
    filler.unlink()
    run.finish("--workers", "2", "--limit", "1")
    assert list(run.stores()) == ["slide0"]
