"""The stain commands as people see them: progress, a summary, an exit code."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pathology.core.config import load_config
from pathology.core.errors import ConfigError
from pathology.core.supervise import prepare_workers
from pathology.slides.ome_writer import PyramidConfig
from pathology.stain.config import CLASSICAL_ONLY, StainConfig
from pathology.stain.load import is_learned, load_model
from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import DONE, EMPTY, FAILED
from pipelines.input_kinds import look_at
from pipelines.progress import progress
from pipelines.stain import apply_recipe
from pipelines.stain_apply import Format, Job, Spread, jobs_of
from pipelines.stain_recipe import ALREADY, Recipe
from pipelines.stain_slide import RESCALED, SlideJob
from pipelines.stain_tiles import PictureJob

PRELOAD = ("pathology.stain.normalize_store", "pipelines.stain_slide", "pipelines.stain_tiles")
PRELOAD_LEARNED = (*PRELOAD, "pathology.stain.learned")  # torch takes seconds to load
MAX_LISTED = 10
PYRAMID = "pyramid."  # what overrides of those settings start with


@dataclass(frozen=True)
class ApplyOptions:
    """How `stain apply` is run; see the command's help for each."""

    source: Path
    out: Path
    model: Path | None = None
    device: str = "cpu"
    wanted: Format | None = None
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    assume_mpp: float | None = None
    data_root: Path | None = None
    workers: int = 0
    timeout_s: float | None = None
    scheduler: str | None = None


def stain_run(
    run: Path,
    out: Path,
    config: StainConfig,
    model: Path | None,
    workers: int,
    timeout_s: float | None = None,
    scheduler: str | None = None,
) -> int:
    """Normalize a run's stores and say how it went; the exit code is 1 where a slide failed."""
    options = ApplyOptions(
        run, out, model, workers=workers, timeout_s=timeout_s, scheduler=scheduler
    )
    return stain_input(options, config)


def stain_input(options: ApplyOptions, config: StainConfig) -> int:
    """Normalize whatever is given and say how it went; the exit code is 1 where a part failed.

    Raises StainError, ArtifactError, ManifestError or ConfigError before anything is written.
    """
    start = time.perf_counter()
    has_networks = options.model is not None and is_learned(options.model)
    if has_networks and not options.scheduler:  # whose workers may be on other machines
        _require_device(options.device)
    if options.workers and not options.scheduler:
        prepare_workers(PRELOAD_LEARNED if has_networks else PRELOAD)
    model = load_model(options.model, config.method, options.device)
    given = look_at(options.source, options.data_root)
    jobs = jobs_of(given, options.out, options.wanted)
    recipe = Recipe(model, config, options.pyramid, options.assume_mpp)
    _require_meaning(recipe, jobs)
    items = "pictures" if given.kind == "images" else "slides"
    unit = items if any(isinstance(job, PictureJob) for job in jobs) else "tiles"
    with progress("stain", given.num_members, unit, items) as shown:
        outcomes = apply_recipe(
            given,
            options.out,
            recipe,
            options.wanted,
            Spread(options.workers, options.timeout_s, options.scheduler),
            on_outcome=lambda outcome: shown.item(_line(outcome, unit)),
            on_progress=shown.step,
        )
    seconds = time.perf_counter() - start
    print(summary(outcomes, model.source or model.method, unit, items, seconds))
    num_rescaled = sum(RESCALED in outcome.reason for outcome in outcomes)
    if num_rescaled:
        print(f"{num_rescaled} {items} {RESCALED} {model.mpp:g} um/px, and not as scanned")
    failures = [outcome for outcome in outcomes if outcome.status == FAILED]
    for outcome in failures[:MAX_LISTED]:
        print(f"  {outcome.slide_id}: {outcome.reason}")
    if len(failures) > MAX_LISTED:
        print(f"  and {len(failures) - MAX_LISTED} more in {options.out / 'stain.csv'}")
    if any(outcome.status == DONE for outcome in outcomes):
        is_one = len(jobs) == 1 and jobs[0].target.is_file()
        print(f"Open: {jobs[0].target if is_one else options.out}")
    return 1 if failures else 0


def settings_of(
    config: Path | None, overrides: Sequence[str], quality: str | None, mpp: float | None
) -> tuple[StainConfig, PyramidConfig]:
    """The settings of colour and those of the files, which are given as pyramid.key=value."""
    ours = [text for text in overrides if text.startswith(PYRAMID)]
    others = [text for text in overrides if not text.startswith(PYRAMID)]
    if quality is not None:
        others.append(f"quality={quality}")
    if mpp is not None:
        ours.append(f"{PYRAMID}mpp={mpp}")
    pyramid = load_config(PyramidConfig, None, [text.removeprefix(PYRAMID) for text in ours])
    return load_config(StainConfig, config, others), pyramid


def summary(
    outcomes: Sequence[StainOutcome], source: str, unit: str, items: str, seconds: float
) -> str:
    """The run in a line: members that are done, those that are not, and what was rendered.

    unit   what is rendered one by one: pictures, or tiles
    items  what the members are: pictures or slides
    """
    num = Counter(outcome.status for outcome in outcomes)
    ready = [outcome for outcome in outcomes if _is_ready(outcome)]
    num_tiles = sum(outcome.num_tiles for outcome in outcomes)
    num_passed = sum(outcome.num_passed_through for outcome in outcomes)
    before = f" ({len(ready)} of them before)" if ready else ""
    said = [f"{num[DONE]} {items} normalized to {source}{before}"]
    said += [f"{num[EMPTY]} without tiles"] if num[EMPTY] else []
    said.append(f"{num[FAILED]} failed")
    num_now = num_tiles - sum(outcome.num_tiles for outcome in ready)
    rate = f" ({num_now / seconds:,.0f} {unit}/s)" if num_now and seconds > 0 else ""
    tiles = f"{num_tiles:,} tiles, " if num_tiles and unit != "pictures" else ""
    passed = f"{tiles}{num_passed:,} passed through unchanged; " if num_tiles else ""
    return f"{', '.join(said)}; {passed}{seconds:.1f} s{rate}"


def _is_ready(outcome: StainOutcome) -> bool:
    """Whether an earlier run has done a member: then it says so, or took no time."""
    is_said = outcome.reason.startswith(ALREADY) or not outcome.seconds
    return outcome.status == DONE and is_said


def _require_device(name: str) -> None:
    """Raise ConfigError for a device that this machine has not."""
    if name != "cpu":  # what follows loads torch
        from pathology.training.fabric import device_of

        device_of(name)


def _require_meaning(recipe: Recipe, jobs: Sequence[Job]) -> None:
    """Raise ConfigError for settings that would change nothing."""
    quality = recipe.config.quality
    if quality != StainConfig().quality and not recipe.is_learned:
        raise ConfigError(
            f"--quality {quality}: has a meaning for learned models only, and this one is "
            f"{recipe.model.method}. Leave it out, or give a model of 'pathology stain train'"
        )
    if recipe.is_learned:
        _require_of_learned(recipe)
    if recipe.pyramid != PyramidConfig() and not any(isinstance(job, SlideJob) for job in jobs):
        raise ConfigError(
            "--mpp and pyramid settings are for whole slides (--format ome-tiff): tiles and "
            "pictures keep their resolution. Leave them out"
        )


def _require_of_learned(recipe: Recipe) -> None:
    """Raise ConfigError for a setting that shapes classical methods alone, and was changed."""
    usual = StainConfig()
    for name in CLASSICAL_ONLY:
        value = getattr(recipe.config, name)
        if value != getattr(usual, name):
            raise ConfigError(
                f"{name}={value}: changes classical methods only, and this model is learned "
                f"({recipe.model.method}). Leave it out"
            )


def _line(outcome: StainOutcome, unit: str) -> str:
    said = f" ({outcome.reason})" if outcome.reason else ""
    is_counted = unit != "pictures" and outcome.num_tiles
    tiles = f", {outcome.num_tiles:,} tiles" if is_counted else ""
    return f"{outcome.slide_id}: {outcome.status}{tiles}{said}"
