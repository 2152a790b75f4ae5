"""Does one run in several ways: undisturbed, killed in every stage, and without room for files.

drill_program.py SETTINGS DIR: into DIR/whole, DIR/killed and DIR/full. The last two are done once
more in the end, undisturbed. Prints what was seen as JSON. Each run is a fork: libraries are loaded
once.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from pathology.core.run_record import environment
from pipelines.run import Choice, RunOptions, run_all

SHARE = 0.15  # of the seconds that a stage took undisturbed, after which it is killed
GONE = 4_194_305  # above all numbers that Linux gives to processes
LARGEST_FILE = 60_000  # bytes: more than any table, less than the model of the slides


def start(settings: Path, out: Path, largest: int = resource.RLIM_INFINITY) -> tuple[int, int]:
    """A run in a process of its own: its number, and the end of a pipe with what it says."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    os.dup2(writing, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    code = 70
    try:
        options = RunOptions(workers=0, device="cpu")
        code = run_all(settings, [f"out={out}"], options, Choice())
    finally:
        sys.stdout.flush()
        os._exit(code)


def finish(settings: Path, out: Path, largest: int = resource.RLIM_INFINITY) -> dict[str, Any]:
    """A run to its end: its exit code, and what it said."""
    process, reading = start(settings, out, largest)
    with os.fdopen(reading) as said:
        text = said.read()
    _, status = os.waitpid(process, 0)
    return {"code": os.waitstatus_to_exitcode(status), "said": text}


def kill_in(settings: Path, out: Path, stage: str, seconds: float) -> list[str]:
    """Kill a run when it has been so long in a stage; the stages that are on record then."""
    process, reading = start(settings, out)
    with os.fdopen(reading) as said:
        for line in said:
            if line.rstrip().endswith(f" {stage}") and "/" in line.split()[0]:
                time.sleep(seconds)
                break
        os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return list(stages(out))


def stages(out: Path) -> dict[str, dict[str, float]]:
    """The stages on record, with the seconds that they took."""
    path = out / "stages.json"
    found = json.loads(path.read_text())["stages"] if path.is_file() else {}
    return dict(found)


def main() -> None:
    settings, folder = Path(sys.argv[1]), Path(sys.argv[2])
    environment()  # once, before the forks
    whole = finish(settings, folder / "whole")
    took = {name: stage["seconds"] for name, stage in stages(folder / "whole").items()}
    killed = folder / "killed"
    seen = {name: kill_in(settings, killed, name, SHARE * took[name]) for name in took}
    for place in (killed, killed / "maps", killed / "microscope"):  # wherever the signal fell
        (place / f".x.png.{socket.gethostname()}.{GONE}.tmp").write_bytes(b"half")
    full = finish(settings, folder / "full", LARGEST_FILE)
    left = [str(path) for path in folder.glob("full/**/*.pt")]
    facts = {
        "whole": whole, "seen": seen, "killed": finish(settings, killed), "full": full,
        "left": left, "emptied": finish(settings, folder / "full"),
    }  # fmt: skip
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
