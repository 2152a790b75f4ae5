"""A stain training in two processes, each with images of its own past: stopped and gone on with."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pathology.core.state import load_state, save_state
from pathology.stain.cycle_step import CycleStep
from pathology.training.loop import Loop, fit
from tests.conftest import ROOT
from tests.stain.cycle_two_processes import CONFIG, RUNS, draw
from tests.stain.test_cycle_step import same

PROGRAM = Path(__file__).with_name("cycle_two_processes.py")


def images_of(update: CycleStep) -> list[int]:
    return [len(pool.state_dict()["images"]) for pool in update.pools.values()]


def test_two_processes_that_were_stopped_go_on_to_the_very_same_weights(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[dict[str, Any]]] = {
        name: [torch.load(tmp_path / f"{name}_{rank}.pt") for rank in range(2)] for name in RUNS
    }
    for rank in range(2):
        assert set(found["whole"][rank]["networks"]) == {
            "to_target", "to_source", "judge_target", "judge_source",
        }  # fmt: skip
        assert same(found["whole"][rank], found["halves"][rank])
    one, other = found["whole"]
    assert same(one["networks"], other["networks"])
    assert not same(one["pools"], other["pools"])

    checkpoint = tmp_path / "halves" / "checkpoint.pt"
    update = CycleStep(CONFIG)
    update.load_state_dict(load_state(checkpoint)["update"])
    assert images_of(update) == [0, 0]  # nobody's: another number of processes
    assert same(update.state_dict()["networks"], one["networks"])


def test_a_checkpoint_from_before_that_is_still_gone_on_from(tmp_path: Path) -> None:
    """It held the images of one process without a list around them."""
    for name in RUNS:
        fit(CycleStep(CONFIG), partial(draw, 0), Loop(12, 3, 6), tmp_path / name, "recipe")
    path = tmp_path / "halves" / "checkpoint.pt"
    state = load_state(path)
    (state["update"]["pools"],) = state["update"]["pools"]
    save_state(path, state)
    ends = [CycleStep(CONFIG) for _ in RUNS]
    for name, update in zip(RUNS, ends, strict=True):
        assert fit(update, partial(draw, 0), Loop(18, 3, 6), tmp_path / name, "recipe") == 12
    assert images_of(ends[1]) == [CONFIG.pool_size] * 2
    assert same(ends[0].state_dict(), ends[1].state_dict())
