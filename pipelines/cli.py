"""The command line: it parses, then imports, then runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

NOTHING_RAN, INTERRUPTED = 2, 130

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

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings as YAML; `pathology init` writes one."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="One setting, over the file's; repeatable."
    ),
]


@app.command()
def tile(
    manifest: Annotated[
        Path, typer.Argument(help="CSV or Parquet with a row for each slide, or a folder.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; made if needed.")],
    config: ConfigFile = None,
    set_: Overrides = None,
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
    from pipelines.tile import TileOptions, run_tiling

    if assume_mpp is not None and not 0.05 <= assume_mpp <= 10:
        raise typer.BadParameter("must lie in 0.05-10 um/px", param_hint="--assume-mpp")
    options = TileOptions(
        manifest=manifest,
        out=out,
        config=config,
        overrides=tuple(set_ or ()),
        data_root=data_root,
        coords_only=coords_only,
        assume_mpp=assume_mpp,
        verify=verify,
        is_tcga=tcga,
        slides=tuple(slide or ()),
        limit=limit,
        workers=workers,
        scheduler=scheduler,
        timeout_s=timeout,
        dry_run=dry_run,
    )
    raise typer.Exit(run_tiling(options))


@app.command()
def version() -> None:
    """Print the version."""
    from pathology import __version__

    print(__version__)


def main() -> None:
    """Entry of the `pathology` command: refusals become one line and exit code 2."""
    from pathology.core.errors import PathologyError

    try:
        app()
    except PathologyError as refusal:
        print(f"{type(refusal).__name__}: {refusal}", file=sys.stderr)
        sys.exit(NOTHING_RAN)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"{error.strerror or error}{where}", file=sys.stderr)
        sys.exit(NOTHING_RAN)
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
