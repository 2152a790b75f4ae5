"""The stages of a run, one after the other: what is kept, what is done anew, how each ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pathology.core.artifact import write_text
from pathology.core.errors import ConfigError, PathologyError, reason_of
from pathology.core.run_record import now

Status = Literal["done", "kept", "failed", "left out", "to do"]
FAILED_CODE = 1
UNLOOKED = "but for files that changed since, which a run looks at"


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    work      does it; returns the exit code, 1 where some slides failed
    recipe    fingerprint of its settings and of what it reads, asked when its turn comes
    products  files and folders it leaves; where they are there, made by this recipe, it is kept
    needs     stages without which it is left out
    is_thrifty  whether it sees for itself, slide by slide, what is missing: it is asked each time
    is_shared   whether all processes of a run take part in it, where there are several
    """

    name: str
    work: Callable[[], int]
    recipe: Callable[[], str]
    products: tuple[Path, ...]
    needs: tuple[str, ...] = ()
    is_thrifty: bool = False
    is_shared: bool = False


@dataclass(frozen=True)
class Ended:
    """How a stage ended; reason says why it failed, was left out, or is to be done."""

    name: str
    status: Status
    seconds: float = 0.0
    code: int = 0
    reason: str = ""

    def line(self) -> str:
        """For people."""
        said = f"{self.name}: {self.status}"
        said += f" in {self.seconds:.0f} s" if self.status == "done" else ""
        said += ", some slides failed" if self.status == "done" and self.code else ""
        return said + (f", {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Choice:
    """Which stages are run.

    start  this one and all after it are done anew, whatever is there; "": none
    until  the last one; "": all
    """

    start: str = ""
    until: str = ""
    is_dry: bool = False


@dataclass
class Record:
    """RUN/stages.json: by stage, the recipe it was last made by, when, and in how long."""

    path: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Record:
        """What the file says; a damaged one says nothing, and all is looked at again."""
        try:
            stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        except (OSError, ValueError, KeyError, TypeError):
            stages = {}
        return cls(path, stages if isinstance(stages, dict) else {})

    def put(self, name: str, recipe: str, seconds: float, code: int) -> None:
        """Remember a stage, on disk at once."""
        self.stages[name] = {
            "recipe": recipe, "finished": now(), "seconds": round(seconds, 1), "code": code,
        }  # fmt: skip
        self._write()

    def forget(self, name: str) -> None:
        """A stage that is begun is not made until it ends."""
        if self.stages.pop(name, None) is not None:
            self._write()

    def _write(self) -> None:
        record = {"note": "research use only", "stages": self.stages}
        write_text(self.path, json.dumps(record, indent=2) + "\n")


def run_stages(
    stages: Sequence[Stage],
    record: Record,
    choice: Choice,
    say: Callable[[str], None] = lambda line: None,
) -> list[Ended]:
    """Do what is not done, in order; how each stage ended.

    A stage that is refused, or finds no room on the disk, costs itself and those that need it; the
    others go on. Raises ConfigError for a name in choice that is no stage, or one to
    begin with that comes after the last.
    """
    names = [stage.name for stage in stages]
    for name in (choice.start, choice.until):
        if name and name not in names:
            raise ConfigError(f"no stage {name!r} in this run; it has {', '.join(names)}")
    first = names.index(choice.start) if choice.start else len(stages)
    last = names.index(choice.until) if choice.until else len(stages) - 1
    if choice.start and first > last:
        raise ConfigError(
            f"{choice.start} comes after {choice.until}: nothing would be done. The stages are, in "
            f"this order, {', '.join(names)}"
        )
    ended: list[Ended] = []
    for number, stage in enumerate(stages[: last + 1]):
        say(f"{number + 1}/{last + 1} {stage.name}")
        found = _run(stage, record, ended, is_forced=number >= first, is_dry=choice.is_dry)
        ended.append(found)
        say(f"  {found.line()}")
    return ended


def _run(
    stage: Stage, record: Record, before: Sequence[Ended], *, is_forced: bool, is_dry: bool
) -> Ended:
    """One stage, or why not."""
    status = {one.name: one.status for one in before}
    missing = [name for name in stage.needs if status.get(name) in ("failed", "left out")]
    if missing:
        return Ended(stage.name, "left out", reason=f"it needs {' and '.join(missing)}")
    waiting = [name for name in stage.needs if status.get(name) == "to do"]
    if waiting:
        return Ended(stage.name, "to do", reason=f"after {' and '.join(waiting)}")
    start = time.perf_counter()
    try:
        recipe = stage.recipe()
        reason = _reason(stage, record, recipe, is_forced=is_forced)
        if not reason and (is_dry or not stage.is_thrifty):
            said = UNLOOKED if stage.is_thrifty else ""
            return Ended(stage.name, "kept", 0.0, int(record.stages[stage.name]["code"]), said)
        if is_dry:
            return Ended(stage.name, "to do", reason=reason)
        record.forget(stage.name)
        code = stage.work()
    except (PathologyError, OSError) as fault:
        kind = f"{type(fault).__name__}: " if isinstance(fault, PathologyError) else ""
        said = f"{kind}{reason_of(fault)}"
        if not is_dry:
            record.forget(stage.name)
        return Ended(stage.name, "failed", time.perf_counter() - start, FAILED_CODE, said)
    seconds = time.perf_counter() - start
    record.put(stage.name, recipe, seconds, code)
    return Ended(stage.name, "done", seconds, code)


def _reason(stage: Stage, record: Record, recipe: str, *, is_forced: bool) -> str:
    """Why a stage is done, or done again; "" where it need not be."""
    made = record.stages.get(stage.name)
    if is_forced:
        return "as asked"
    if made is None:
        return "not done yet"
    if made.get("recipe") != recipe:
        return "its settings or inputs changed"
    gone = [path.name for path in stage.products if not path.exists()]
    return f"{gone[0]} is gone" if gone else ""
