"""Several processes of one run: the first does every stage, and calls the others to trainings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from pathology.core.errors import PathologyError
from pathology.training.fabric import make_fabric
from pathology.training.together import from_first, num_processes, rank
from pipelines.run_plan import RunOptions
from pipelines.stages import Stage


class Alone(PathologyError):
    """A training failed that several processes shared: they cannot be called again."""


def meet(options: RunOptions) -> None:
    """Start the processes that were asked for, or find those that torchrun or srun started.

    Raises ConfigError for a device that this machine does not have.
    """
    fabric = make_fabric(options.device, num_devices=options.num_devices)
    if fabric.world_size > 1:
        fabric.launch()


def is_follower() -> bool:
    """Whether this process is one of several, and not the first."""
    return rank() > 0


def follow(stages: Sequence[Stage]) -> None:
    """Take part in each training that the first process begins, until it has no more.

    A refusal, which the first process tells of, ends this one quietly.
    """
    known = {stage.name: stage for stage in stages}
    with suppress(PathologyError, OSError, SystemExit):
        while name := from_first(str):
            known[name].work()


class Leader:
    """The first of several processes, or the only one."""

    def __init__(self) -> None:
        self._is_broken = False

    def leading(self, stages: Sequence[Stage]) -> list[Stage]:
        """The same stages; those that are shared call the others first."""
        if num_processes() == 1:
            return list(stages)
        return [self._calling(stage) if stage.is_shared else stage for stage in stages]

    def dismiss(self) -> None:
        """Let the others end. After a fault they are in the midst of things, and end with this."""
        if num_processes() > 1 and not self._is_broken:
            from_first(lambda: "")

    def _calling(self, stage: Stage) -> Stage:
        def work() -> int:
            if self._is_broken:
                raise Alone("an earlier training failed: run the same command again")
            from_first(lambda: stage.name)
            self._is_broken = True  # until it ends well
            code = stage.work()
            self._is_broken = False
            return code

        return replace(stage, work=work)
