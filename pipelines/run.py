"""One run from one file: tile, normalize stain, report. Each stage does only what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pathology.core.config import StageConfig, load_config
from pathology.core.errors import ConfigError
from pathology.core.geometry import MAX_MPP, MIN_MPP
from pathology.core.run_record import num_cores
from pathology.core.supervise import prepare_workers
from pathology.stain.config import StainConfig
from pathology.tiling.config import TilingConfig
from pipelines import restain, tile_work
from pipelines.report import write_report
from pipelines.restain import stain_run
from pipelines.tile import TileOptions, tile_manifest


class RunConfig(StageConfig):
    """Settings of a whole run. Relative paths start at the folder of the settings file.

    manifest    CSV, Parquet or a folder of slides
    out         folder of the run: tiles in OUT, normalized tiles in OUT/stain, OUT/report.html
    data_root   where relative slide paths start; default: where the manifest lies
    assume_mpp  for slides that state none
    stain       settings of stain normalization, or null for none
    """

    manifest: str
    out: str
    data_root: str | None = None
    assume_mpp: float | None = Field(default=None, ge=MIN_MPP, le=MAX_MPP)
    tile: TilingConfig = TilingConfig()
    stain: StainConfig | None = StainConfig()


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; nothing here changes what comes out."""

    config: Path
    overrides: tuple[str, ...] = ()
    workers: int | None = None
    scheduler: str | None = None
    timeout_s: float | None = None


def run_all(options: RunOptions) -> int:
    """Run every stage of a settings file; the exit code is 1 where a slide failed in any stage."""
    if not options.config.is_file():
        raise ConfigError(f"{options.config}: no such file. 'pathology init' writes one")
    prepare_workers([*tile_work.PRELOAD, *restain.PRELOAD])  # one server for both stages
    config = load_config(RunConfig, options.config, options.overrides)
    home = options.config.resolve().parent
    out = home / config.out
    tiling = TileOptions(
        manifest=home / config.manifest,
        out=out,
        data_root=home / config.data_root if config.data_root else None,
        assume_mpp=config.assume_mpp,
        workers=options.workers,
        scheduler=options.scheduler,
        timeout_s=options.timeout_s,
    )
    code = tile_manifest(tiling, config.tile)
    stained = None
    if config.stain is not None:
        stained = out / "stain"
        workers = num_cores() if options.workers is None else options.workers
        code = max(code, stain_run(out, stained, config.stain, None, workers, options.timeout_s))
    page = write_report(out, stain_run=stained)
    print(f"Report: {page}")
    return code
