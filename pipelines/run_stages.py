"""The stages of a run, from slides to the report, and why some are left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pathology.core.artifact import content_digest
from pathology.core.config import StageConfig
from pathology.core.errors import ConfigError
from pathology.core.manifest import read_manifest
from pathology.stain.config import StainConfig
from pipelines.report import write_report
from pipelines.restain import stain_run
from pipelines.run_config import RunConfig, RunFolder
from pipelines.run_learn import weak_stages
from pipelines.run_plan import Planned, RunOptions, recipe_of, table_digest, tiles_digest
from pipelines.run_scope import scope_stages
from pipelines.run_style import style_stage
from pipelines.stages import Record, Stage
from pipelines.tile import TileOptions, tile_manifest


def stages_of(config: RunConfig, home: Path, options: RunOptions) -> tuple[list[Stage], list[str]]:
    """The stages of a run in their order, and why some are left out.

    Raises ConfigError for files that are not there, ManifestError for a manifest that is none.
    """
    folder = RunFolder(home / config.out)
    data_root = home / config.data_root if config.data_root else None
    labels = read_manifest(home / config.manifest, data_root)
    run = Planned(config, home, options, folder, labels)
    for path in run.named_files:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder, and the settings name it")
    stages, notes = [_tile(run)], []
    if config.stain is not None:
        stages += _stain(run, config.stain)
    elif config.stain_model or config.stain_target or config.stain_train:
        raise ConfigError(
            "stain_model, stain_target and stain_train need stain, e.g. {method: macenko}"
        )
    grades = sorted({slide.label for slide in labels.slides if slide.label})
    if config.weak is not None and len(grades) > 1:
        stages += weak_stages(run, config.weak)
        if config.microscope is not None:
            stages += scope_stages(run, config.microscope)
    elif config.weak is not None:
        said = f"one label only ({grades[0]})" if grades else "no labels"
        notes.append(f"the slides have {said}: nothing is trained, predicted or judged")
    return [*stages, _report(run, [stage.name for stage in stages])], notes


def _tile(run: Planned) -> Stage:
    config, options = run.config, run.options
    tiling = TileOptions(
        manifest=run.manifest,
        out=run.folder.out,
        data_root=run.data_root,
        assume_mpp=config.assume_mpp,
        workers=options.workers,
        scheduler=options.scheduler,
        timeout_s=options.timeout_s,
    )
    slides = table_digest(
        (s.slide_id, s.slide_path, s.mpp, s.mask_path, s.domain, s.case_id, s.label, s.centre)
        for s in run.labels.slides
    )
    assume = str(config.assume_mpp)
    return Stage(
        "tile",
        partial(tile_manifest, tiling, config.tile),
        partial(recipe_of, "tile", config.tile, slides=slides, assume_mpp=assume),
        (run.folder.out / "process_list.csv",),
        is_thrifty=True,
    )


def _stain(run: Planned, config: StainConfig) -> list[Stage]:
    """The style, where it is taken from a centre, and the tiles in it."""
    out, model, options = run.folder.stained, run.stain_model, run.options
    centre = run.config.stain_target
    if centre is None and run.config.stain_train is not None:
        raise ConfigError("stain_train needs stain_target: the centre whose style is learned")
    if centre is not None and run.config.stain_model is not None:
        raise ConfigError("stain_target and stain_model: give one of them")
    styles = [] if centre is None else [style_stage(run, config, centre)]

    def recipe() -> str:
        said = content_digest(model) if model else ""
        return recipe_of("stain", config, tiles=tiles_digest(run.folder.out), model=said)

    stain = Stage(
        "stain",
        partial(
            stain_run, run.folder.out, out, config, model,
            options.num_workers, options.timeout_s, options.scheduler,
        ),
        recipe,
        (out / "stain.csv",),
        ("tile", *(stage.name for stage in styles)),
        is_thrifty=True,
    )  # fmt: skip
    return [*styles, stain]


def _report(run: Planned, names: Sequence[str]) -> Stage:
    """Written each time: it is quick, and shows what there is."""

    def write() -> int:
        write_report(run.folder.out, stain_run=run.folder.stained if run.config.stain else None)
        return 0

    def recipe() -> str:
        made = Record.read(run.folder.record).stages
        return recipe_of(
            "report", StageConfig(), stages=table_digest([[made.get(n)] for n in names])
        )

    return Stage("report", write, recipe, (run.folder.report,), ("tile",), is_thrifty=True)
