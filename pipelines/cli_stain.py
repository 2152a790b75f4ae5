"""The stain commands of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import ConfigFile, Overrides, Workers

stain = typer.Typer(
    no_args_is_help=True, help="Normalize the colour of stained slides towards one style."
)


@stain.command("fit")
def stain_fit(
    target: Annotated[
        Path, typer.Option(help="What the style is taken from: a run, a tile store or an image.")
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The style, a small JSON file.")],
    method: Annotated[str, typer.Option(help="macenko is the only one yet.")] = "macenko",
    set_: Overrides = None,
) -> None:
    """Fit a reference style to a run, a tile store or an image."""
    from pathology.core.config import load_config
    from pathology.stain.config import StainConfig
    from pipelines.stain import fit_model

    overrides = [f"method={method}", *(set_ or ())]
    reference = fit_model(target, out, load_config(StainConfig, None, overrides))
    print(f"{out}: fitted to {target}, fingerprint {reference.fingerprint}")
    print(f"Next: pathology stain apply RUN --model {out} --out RUN/stain")


@stain.command("apply")
def stain_apply(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A tiling run or a tile store.")],
    out: Annotated[Path, typer.Option(help="Folder of the normalized stores.")],
    model: Annotated[
        Path | None, typer.Option(help="From `stain fit`. Default: a textbook H&E style.")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    workers: Workers = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds a slide may take.")
    ] = None,
) -> None:
    """Render a run's tiles in one style: a store of the same shape for each slide."""
    from pathology.core.config import load_config
    from pathology.core.run_record import num_cores
    from pathology.stain.config import StainConfig
    from pipelines.restain import stain_run

    settings = load_config(StainConfig, config, set_ or ())
    cores = num_cores() if workers is None else workers
    raise typer.Exit(stain_run(source, out, settings, model, cores, timeout))
