"""One run from one file, from slides to the report. Each stage does only what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pathology.core.artifact import sweep_scratch
from pathology.core.config import load_config
from pathology.core.errors import ConfigError
from pathology.core.supervise import prepare_workers
from pathology.stain.load import is_learned
from pipelines import restain, tile_work
from pipelines.run_config import RunConfig, RunFolder
from pipelines.run_plan import RunOptions
from pipelines.run_stages import stages_of
from pipelines.run_together import Leader, follow, is_follower, meet
from pipelines.stages import Choice, Ended, Record, run_stages

__all__ = ["Choice", "RunConfig", "RunOptions", "run_all", "run_config"]


def run_all(path: Path, overrides: Sequence[str], options: RunOptions, choice: Choice) -> int:
    """Run the stages of a settings file; the exit code is 1 where a slide or a stage failed.

    Raises ConfigError where there is no such file, or a setting is not understood.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. 'pathology init --stage run' writes one")
    return run_config(
        load_config(RunConfig, path, overrides), path.resolve().parent, options, choice
    )


def run_config(config: RunConfig, home: Path, options: RunOptions, choice: Choice) -> int:
    """The same with settings at hand.

    home  where relative paths start
    """
    folder = RunFolder(home / config.out)
    stages, notes = stages_of(config, home, options)
    if not choice.is_dry:
        _sweep(folder.out)
        meet(options)
        if is_follower():
            follow(stages)
            return 0
        prepare_workers(_preload(config, home))  # one server for all stages
    for note in notes:
        print(f"note: {note}")
    leader = Leader()
    ended = run_stages(leader.leading(stages), Record.read(folder.record), choice, print)
    leader.dismiss()
    print(_summary(ended, folder, choice))
    return max((one.code for one in ended), default=0)


def _sweep(out: Path) -> None:
    """Remove what a run that was killed left half-made, in whatever stage that was."""
    below = [path for pattern in ("*/", "*/*/") for path in out.glob(pattern)]
    for folder in (out, *below):
        if folder.suffix != ".zarr":
            sweep_scratch(folder)


def _preload(config: RunConfig, home: Path) -> list[str]:
    """Modules that workers of tiling and staining start with."""
    is_net = config.stain_train is not None
    is_net |= config.stain_model is not None and is_learned(home / config.stain_model)
    stain = restain.PRELOAD_LEARNED if is_net and config.stain is not None else restain.PRELOAD
    return [*tile_work.PRELOAD, *stain]


def _summary(ended: Sequence[Ended], folder: RunFolder, choice: Choice) -> str:
    """What was done, and what to look at."""
    lines = ["", "Research use only."]
    lines += [f"  {one.line()}" for one in ended]
    if choice.is_dry:
        return "\n".join([*lines, "Nothing was done: this was a dry run."])
    if any(one.status == "failed" for one in ended):
        lines.append("Mend what failed and run the same command again: what is done is kept.")
    if folder.report.is_file():
        lines.append(f"Report: {folder.report}")
    if folder.predictions.is_file():
        lines.append(f"Slides in the browser: pathology serve {folder.out}")
    if ended and any(folder.microscope.glob("*.pt")):
        lines.append("At the microscope: pathology live --model MODEL --source 0, with one of")
        lines += [f"  {path}" for path in sorted(folder.microscope.glob("*.pt"))]
    return "\n".join(lines)
