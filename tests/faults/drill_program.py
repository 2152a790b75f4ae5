"""Does a run again and again, killed at another place each time, and once to its end.

drill_program.py SETTINGS OUT PLAN: PLAN is JSON, a list of stages and of seconds after which the
run is killed once the stage has begun. Prints, as JSON, the stages that were on record after each
kill, and the exit code of the last run. Torch is imported once: each run is a fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from pathology.core.run_record import environment
from pipelines.run import Choice, RunOptions, run_all


def start(settings: Path, out: Path) -> tuple[int, int]:
    """A run in a process of its own: its number, and the end of a pipe with what it says."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    os.dup2(writing, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    code = 70
    try:
        options = RunOptions(workers=0, device="cpu")
        code = run_all(settings, [f"out={out}"], options, Choice())
    finally:
        sys.stdout.flush()
        os._exit(code)


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
    record = out / "stages.json"
    return list(json.loads(record.read_text())["stages"]) if record.is_file() else []


def main() -> None:
    settings, out, plan = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    environment()  # once, before the forks
    seen = [kill_in(settings, out, stage, seconds) for stage, seconds in plan]
    process, reading = start(settings, out)
    with os.fdopen(reading) as said:
        said.read()
    _, status = os.waitpid(process, 0)
    print(json.dumps({"seen": seen, "code": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main()
