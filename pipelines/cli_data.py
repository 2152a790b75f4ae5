"""The commands of the command line that bring data in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(no_args_is_help=True, help="Public data sets: list them, fetch one.")


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Folder of a tiling run, predictions (.csv), or a model (.pt)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the exported files.")],
    format_: Annotated[
        list[str],
        typer.Option(
            "--format",
            help="Of a run: trident, clam, geojson, jpg or png; of predictions: geojson, regions, "
            "ome-tiff, png or parquet; of a model: onnx or wsinfer; repeatable.",
        ),
    ],
    layout: Annotated[
        str, typer.Option(help="TRIDENT's folder name: mpp (exact) or trident (20x_...).")
    ] = "mpp",
    weights: Annotated[
        Path | None, typer.Option(help="File of the encoder's weights, if it is not in the model.")
    ] = None,
) -> None:
    """Hand tiles, predictions or a model to other tools: TRIDENT, CLAM, QuPath, viewers, WSInfer.

    Examples:

        pathology export RUN --out qupath --format geojson

        pathology export predictions.csv --out qupath --format regions --format ome-tiff

        pathology export grades.pt --out models --format wsinfer
    """
    if run.suffix.lower() == ".pt":
        from pipelines.export_model import export_model

        for path in export_model(run, out, format_, weights):
            print(f"{path}: answers as the model does, research use only")
        return
    if run.suffix.lower() == ".csv":
        from pipelines.export_predictions import export_predictions

        outcomes = export_predictions(run, out, format_, lambda outcome: print(outcome.line()))
    else:
        from pipelines.export import export_run, require_known
        from pipelines.progress import progress
        from pipelines.weak_inputs import num_slides

        require_known(format_, layout)
        with progress("export", num_slides(run)) as shown:
            outcomes = export_run(
                run, out, format_, layout, lambda outcome: shown.item(outcome.line()), shown.step
            )
    raise typer.Exit(1 if any(outcome.problem for outcome in outcomes) else 0)


@data.command("list")
def data_list() -> None:
    """List public data sets with their licences."""
    from pipelines.data import list_public

    for name, dataset in list_public().items():
        print(f"{name}: {dataset.title}. {dataset.license or 'Licence: see its home page'}")


@data.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="See `pathology data list`.")],
    out: Annotated[Path, typer.Option(help="Files go to OUT/NAME.")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Only this file; repeatable.")
    ] = None,
) -> None:
    """Download a public data set: resumes, checks, and never leaves half a file under its name."""
    from pipelines.data import fetch_public
    from pipelines.progress import download_progress

    with download_progress() as report_progress:
        paths = fetch_public(name, out, tuple(only or ()), report_progress)
    for path in paths:
        print(path)
