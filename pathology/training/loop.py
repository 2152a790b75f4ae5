"""The training loop: one update a step, measurements to a file, checkpoints to go on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pathology.core.artifact import alone_in, publish
from pathology.core.errors import ArtifactError
from pathology.core.state import load_state, save_state

Batch = TypeVar("Batch", contravariant=True)
Values = dict[str, float]


class Step(Protocol[Batch]):
    """Networks and optimizers, and one update of them.

    Several processes call state_dict together, and the first keeps what it gives there.
    """

    def __call__(self, batch: Batch, step: int) -> Values: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Loop:
    """How long and how often.

    steps     updates in all
    every     updates whose mean makes one line of the measurements, and one report
    keep      updates between two checkpoints, a multiple of every
    """

    steps: int
    every: int = 20
    keep: int = 200

    def __post_init__(self) -> None:
        """Raise ValueError where a checkpoint would cut a line of the measurements in two."""
        if self.keep % self.every:
            raise ValueError(f"keep is {self.keep}, which is no multiple of every, {self.every}")


def fit(
    update: Step[Batch],
    draw: Callable[[int], Batch],
    loop: Loop,
    folder: Path,
    recipe: str,
    *,
    is_first: bool = True,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    before_keep: Callable[[int], bool] = lambda step: False,
    on_keep: Callable[[int], None] = lambda step: None,
) -> int:
    """Update until loop.steps, from the checkpoint in folder if it is of this recipe.

    draw         the batch of a step, a function of its number and nothing else
    recipe       fingerprint of all that shapes the result; another one's checkpoint is not used
    is_first     whether this is the one of several processes that writes
    on_step      told every step's values
    before_keep  called before every checkpoint, which holds what it left in update; training ends
                 where it says so
    on_keep      called after every checkpoint
    Raises ArtifactError where another training works in the folder.
    Returns the step that it started from. A run that was stopped and goes on ends with the very
    weights of one that was not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder) if is_first else nullcontext():
        start, is_over = resume(update, folder, recipe, is_first=is_first)
        sums: Values = {}
        for step in range(start, start if is_over else loop.steps):
            values = update(draw(step), step)
            on_step(step, values)
            sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
            done = step + 1
            if done % loop.every == 0 or done == loop.steps:
                count = (done - 1) % loop.every + 1
                means = {name: round(value / count, 6) for name, value in sums.items()}
                sums = {}
                if is_first:
                    _append(folder / "metrics.jsonl", {"step": done, **means})
            if done % loop.keep == 0 or done == loop.steps:
                is_over = before_keep(done)
                state = {"step": done, "recipe": recipe, "update": update.state_dict()}
                if is_first:
                    save_state(folder / "checkpoint.pt", {**state, "is_over": is_over})
                    on_keep(done)
                if is_over:
                    break
    return start


def resume(
    update: Step[Batch], folder: Path, recipe: str, *, is_first: bool = True
) -> tuple[int, bool]:
    """Load the checkpoint of a folder if it is of this recipe.

    is_first  whether this process also takes back measurements of later steps
    Returns the step to go on from, and whether training had come to its end.
    """
    path = folder / "checkpoint.pt"
    try:
        state = load_state(path) if path.is_file() else {}
    except ArtifactError as error:
        raise ArtifactError(f"{error}. Delete it, and training starts anew") from error
    if state.get("recipe") != recipe:
        if is_first:
            (folder / "metrics.jsonl").unlink(missing_ok=True)
        return 0, False
    update.load_state_dict(state["update"])
    start, is_over = int(state["step"]), bool(state.get("is_over", False))
    if not is_first:
        return start, is_over
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if row["step"] <= start]
    with publish(folder / "metrics.jsonl") as scratch:
        scratch.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return start, is_over


def read_metrics(path: Path) -> list[Values]:
    """The lines of a metrics.jsonl; none where there is no such file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def _append(path: Path, row: Values) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
