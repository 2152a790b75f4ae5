"""The command line: it parses, then imports, then runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_adapt import train
from pipelines.cli_data import data, export
from pipelines.cli_learn import Device, features, splits
from pipelines.cli_live import live
from pipelines.cli_options import ConfigFile, Overrides, Workers
from pipelines.cli_predict import evaluate, predict
from pipelines.cli_serve import serve
from pipelines.cli_stain_learn import stain

app = typer.Typer(
    name="pathology",
    help="""Computational pathology from whole-slide images to the microscope.

    Start with `pathology demo`, or with your own slides: `pathology tile FOLDER --out RUN`.
    Research use only.""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda word: word.replace("_", "-"),
    },
)

app.add_typer(stain, name="stain")
app.command()(export)
app.command()(features)
app.command()(splits)
app.command()(predict)
app.command()(evaluate)
app.command()(serve)
app.add_typer(data, name="data")
app.add_typer(train, name="train")
app.add_typer(live, name="live")


@app.command()
def tile(
    manifest: Annotated[
        Path, typer.Argument(help="CSV or Parquet with a row for each slide, or a folder.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; made if needed.")],
    config: ConfigFile = None,
    set_: Overrides = None,
    coords: Annotated[
        Path | None,
        typer.Option(help="Take the tiles of CLAM's, TRIDENT's or others' h5 files (or a folder)."),
    ] = None,
    coords_only: Annotated[
        bool, typer.Option("--coords-only", help="Keep corners, no pixels; no quality check.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes and threads in all; 0: one thread. Default: cores."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Use a dask cluster, e.g. tcp://10.0.0.1:8786."),
    ] = None,
    assume_mpp: Annotated[
        float | None,
        typer.Option(help="Microns per pixel of slides that state none (40x: 0.25, 20x: 0.5)."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where relative slide paths start. Default: the manifest.")
    ] = None,
    slide: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this slide; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N slides.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="K/N", help="Every N-th slide from the K-th (from 0).")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds a slide may take before it is failed.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the manifest's sha256 first (reads it all).")
    ] = False,
    tcga: Annotated[
        bool, typer.Option("--tcga", help="Fill case_id and centre from TCGA barcodes.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print each slide's plan and size; write nothing.")
    ] = False,
) -> None:
    """Cut slides into tiles of one exact physical size.

    Every slide of the manifest ends as a row of RUN/process_list.csv. Running the same command
    again does only what is missing or was made with other settings.

    Examples:

        pathology tile slides/ --out run --set tile.mpp=0.5 --set tile.size_px=256

        pathology tile manifest.csv --out run --dry-run
    """
    from pipelines.given_mpp import require_mpp
    from pipelines.tile import TileOptions, run_tiling

    require_mpp(assume_mpp, "--assume-mpp")
    options = TileOptions(
        manifest=manifest,
        out=out,
        config=config,
        overrides=tuple(set_ or ()),
        data_root=data_root,
        coords=coords,
        coords_only=coords_only,
        assume_mpp=assume_mpp,
        verify=verify,
        is_tcga=tcga,
        slides=tuple(slide or ()),
        limit=limit,
        part=part,
        workers=workers,
        scheduler=scheduler,
        timeout_s=timeout,
        dry_run=dry_run,
    )
    raise typer.Exit(run_tiling(options))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a tiling run.")],
    out: Annotated[Path | None, typer.Option(help="The page. Default: RUN/report.html.")] = None,
    stain_run: Annotated[
        Path | None, typer.Option(help="Its normalized copy. Default: RUN/stain if it is there.")
    ] = None,
) -> None:
    """Write one self-contained HTML page on a run: failures first, then every slide."""
    from pipelines.report import write_report

    beside = run / "stain"
    page = write_report(run, out, stain_run or (beside if beside.is_dir() else None))
    print(f"Report: {page}")


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="Settings of the run; see `pathology init`.")],
    set_: Overrides = None,
    start: Annotated[
        str, typer.Option("--from", metavar="STAGE", help="Do this stage and all after it anew.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="STAGE", help="The last stage to do.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and why; do nothing.")
    ] = False,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Tile, normalize and encode on a dask cluster."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds a slide may take in a stage.")
    ] = None,
    device: Device = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Processes that share a training, one for each GPU.")
    ] = 1,
) -> None:
    """From slides, and pictures of a microscope, to a report: all from one file.

    Stages: tile, style, stain, features, weak, predict, evaluate, adapt, microscope, report; those
    for which the settings or the table of slides give no reason are left out. A second run does
    only what changed, and a killed one goes on where it was. Examples:

        pathology init --stage run && pathology run run.yaml

        pathology run run.yaml --dry-run

        pathology run run.yaml --from weak --set weak.method=abmil
    """
    from pipelines.run import Choice, RunOptions, run_all

    options = RunOptions(workers, scheduler, timeout, device, devices)
    raise typer.Exit(run_all(config, set_ or [], options, Choice(start, until, dry_run)))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("demo"),
    slides: Annotated[int, typer.Option(min=1, help="Sound slides; four faulty ones join.")] = 30,
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 1,
    workers: Workers = None,
) -> None:
    """Simulate a small cohort with planted faults and run everything on it."""
    from pipelines.demo import run_demo

    raise typer.Exit(run_demo(out, slides, seed, workers))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")] = Path(),
    stage: Annotated[
        list[str] | None,
        typer.Option(
            help="tile, stain, stain_train, stain_full, stain_evaluate, weak, adapt or run; "
            "repeatable. Default: all."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
) -> None:
    """Write commented settings files to start from."""
    from pipelines.init import write_configs

    for path in write_configs(folder, tuple(stage or ()), overwrite=overwrite):
        print(path)


@app.command()
def doctor() -> None:
    """Show what this machine has and lacks: libraries, processor, GPU, memory, disk, extras."""
    from pipelines.doctor import examine, exit_code

    findings = examine()
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        print(f"{finding.state:7} {finding.topic:{width}}  {finding.text}")
    raise typer.Exit(exit_code(findings))


@app.command()
def version() -> None:
    """Print the version."""
    from pathology import __version__

    print(__version__)
