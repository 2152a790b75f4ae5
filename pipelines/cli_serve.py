"""The command that shows a run in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a tiling run.")],
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="What `pathology predict` wrote. Default: RUN/predictions.csv if it is there.",
        ),
    ] = None,
    stain: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="From `stain fit` or `train`: also show its colors."),
    ] = None,
    slides: Annotated[
        Path | None,
        typer.Option(
            metavar="MANIFEST", help="Table or folder of the slides, where they have moved."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. All but this machine's own need a token."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token: Annotated[
        bool, typer.Option("--token", help="Ask for a token on this machine, too.")
    ] = False,
    cache: Annotated[
        int, typer.Option(metavar="MIB", min=1, help="Memory for encoded tiles.")
    ] = 128,
) -> None:
    """Show slides and predictions in a browser: zoom, overlay, most suspicious tiles.

    Nobody but this machine can reach the page, unless --host says otherwise; then its address
    holds a token without which nothing is shown. Examples:

        pathology serve RUN --predictions predictions.csv --stain style.json

        ssh -L 8000:localhost:8000 server pathology serve RUN
    """
    from pipelines.serve import ServeOptions
    from pipelines.serve import serve as run_server

    run_server(
        ServeOptions(
            run=run,
            predictions=predictions,
            stain=stain,
            slides=slides,
            host=host,
            port=port,
            with_token=token,
            cache_mib=cache,
        )
    )
