"""The stain commands of the command line."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from pipelines.cli_options import AssumeMpp, ConfigFile, Overrides, Workers

stain = typer.Typer(no_args_is_help=True, help="Render stained slides in the colors of one style.")


class OutputFormat(Enum):
    """What `apply` writes."""

    STORE = "store"
    OME_TIFF = "ome-tiff"
    TILES = "tiles"


@stain.command("fit")
def stain_fit(
    target: Annotated[
        Path,
        typer.Option(
            help="A run, a store, pictures, a manifest or a slide: one or a whole domain."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The style, a small JSON file.")],
    method: Annotated[
        Literal["none", "reinhard", "macenko", "vahadane", "histogram"] | None,
        typer.Option(
            help="Default: macenko. Vahadane is slow to fit; histogram follows a domain's colors."
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    assume_mpp: AssumeMpp = None,
) -> None:
    """Fit a classical style to one slide or picture, or to all of a centre.

    Example:

        pathology stain fit --method macenko --target RUN_OF_A_CENTRE --out style.json
    """
    from pathology.core.config import load_config
    from pathology.stain.config import StainConfig
    from pipelines.given_mpp import require_mpp
    from pipelines.stain_fit import fit_model

    require_mpp(assume_mpp, "--assume-mpp")
    overrides = [*([f"method={method}"] if method else []), *(set_ or ())]
    settings = load_config(StainConfig, config, overrides)
    reference = fit_model(target, out, settings, print, assume_mpp=assume_mpp)
    print(f"{out}: fitted to {target}, fingerprint {reference.fingerprint}")
    print(f"Next: pathology stain apply RUN --model {quote(str(out))} --out RUN/stain")


@stain.command("apply")
def stain_apply(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A tiling run, a tile store, a folder of pictures or slides, a manifest, a slide.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder; for one slide also a .tiff, or a .png.")],
    model: Annotated[
        Path | None, typer.Option(help="From `stain fit` or `train`. Default: a textbook style.")
    ] = None,
    quality: Annotated[
        str | None, typer.Option(help="Of a learned model: teacher, student or lut (default).")
    ] = None,
    format_: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format",
            help="Default: store for tiles, ome-tiff for slides, tiles (PNG) for pictures.",
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    mpp: Annotated[
        float | None,
        typer.Option(
            help="Of the OME-TIFF. Default: as scanned; as taught, if the model is learned."
        ),
    ] = None,
    assume_mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of slides and pictures without any.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where relative slide paths start. Default: the manifest.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda", "mps"], typer.Option(help="Where a learned model's networks run.")
    ] = "cpu",
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Use a dask cluster, e.g. tcp://10.0.0.1:8786."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds a slide may take.")
    ] = None,
) -> None:
    """Render slides, tiles or pictures in one style; running it again does what is missing.

    Whole slides become pyramidal OME-TIFF files, which QuPath and OpenSlide open. Settings of those
    files start with pyramid: --set pyramid.jpeg_quality=95. Examples:

        pathology stain apply slide.svs --model style.json --out normalized.ome.tiff

        pathology stain apply RUN --model style.json --out RUN/stain
    """
    from pathology.core.run_record import num_cores
    from pipelines.given_mpp import require_mpp
    from pipelines.restain import ApplyOptions, settings_of, stain_input

    require_mpp(assume_mpp, "--assume-mpp")
    settings, pyramid = settings_of(config, set_ or (), quality, mpp)
    options = ApplyOptions(
        source=source,
        out=out,
        model=model,
        device=device,
        wanted=None if format_ is None else format_.value,
        pyramid=pyramid,
        assume_mpp=assume_mpp,
        data_root=data_root,
        workers=num_cores() if workers is None else workers,
        timeout_s=timeout,
        scheduler=scheduler,
    )
    raise typer.Exit(stain_input(options, settings))
