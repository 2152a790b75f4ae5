"""The commands at the microscope: live, live calibrate, live limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

live = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")
Source = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="A camera's number or device, a video file, a folder that pictures come into, an "
        "address (http://, rtsp://), micromanager[:CONFIG], or simulated:SLIDE.",
    ),
]
ObjectivesFile = Annotated[
    Path, typer.Option(metavar="YAML", help="Where calibrated objectives are kept.")
]
Weights = Annotated[
    Path | None, typer.Option(help="File of the encoder's weights, if it is not in MODEL.")
]
Stain = Annotated[
    Path | None,
    typer.Option(metavar="MODEL", help="What the model's tiles were normalized by, if they were."),
]
Size = Annotated[str | None, typer.Option(metavar="WxH", help="Asked of a camera: 1920x1080.")]
PLAIN_OBJECTIVES = Path("objectives.yaml")


@live.callback()
def run(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="What `pathology train` made.")
    ] = None,
    source: Source = None,
    mpp: Annotated[float | None, typer.Option(help="Microns per pixel of the camera.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="A calibrated one by name, or e.g. 20x with --camera-um.")
    ] = None,
    camera_um: Annotated[
        float | None, typer.Option(help="Edge of the camera's pixel in um, e.g. 3.45.")
    ] = None,
    adapter: Annotated[float, typer.Option(help="Magnification of the camera's adapter.")] = 1.0,
    objectives: ObjectivesFile = PLAIN_OBJECTIVES,
    stain: Stain = None,
    weights: Weights = None,
    record: Annotated[
        Path | None, typer.Option(metavar="MP4", help="Also record what the page shows.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep pictures for the next `train adapt --target`."),
    ] = None,
    save_every: Annotated[float, typer.Option(min=0, help="Least seconds between them.")] = 5.0,
    size: Size = None,
    fps: Annotated[float | None, typer.Option(help="Asked of a camera.")] = None,
    assume_mpp: Annotated[
        float | None, typer.Option(help="Of a slide under the simulated microscope.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where the page listens; beyond loopback it asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8765,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Whether to serve one.")] = True,
    seconds: Annotated[float | None, typer.Option(min=0, help="End after so long.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the network.")] = 2,
    budget_ms: Annotated[
        float, typer.Option(min=1, help="Of the network, for a frame: more tiles, fewer frames.")
    ] = 40.0,
) -> None:
    """Grade what a camera sees, live in a browser.

    Every frame is cut to the model's tiles. What is out of focus, glass alone, or unlike what the
    model was taught on is said to be so and not graded. A field with more tiles than fit the
    budget is graded over several frames while it stands still. Examples:

        pathology live --model scope.pt --source 0 --objective 20x

        pathology live --model scope.pt --source simulated:slide.svs --record session.mp4

        pathology live --model scope.pt --source 0 --mpp 0.345 --save camera_tuesday
    """
    if context.invoked_subcommand is not None:
        return
    from pathology.core.errors import ConfigError
    from pipelines.live import LiveOptions, run_live
    from pipelines.live_sources import SourceOptions, size_of

    if model is None or source is None:
        raise ConfigError("live needs --model and --source; see pathology live --help")
    asked = SourceOptions(size_of(size), fps, mpp, assume_mpp)
    options = LiveOptions(
        model, source, mpp, objective, camera_um, adapter, objectives, asked, weights, stain,
        record, save, save_every, host, port if page else None, seconds, threads, budget_ms,
    )  # fmt: skip
    run_live(options, say=lambda line: print(line, flush=True))


@live.command()
def calibrate(
    objective: Annotated[str, typer.Option(help="Its name, e.g. 20x.")],
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a stage micrometer, by this camera.")
    ] = None,
    source: Source = None,
    division_um: Annotated[float, typer.Option(help="Of the stage micrometer, in um.")] = 10.0,
    length_um: Annotated[float | None, typer.Option(help="A known length in um, ...")] = None,
    length_px: Annotated[float | None, typer.Option(help="... and its length in pixels.")] = None,
    glass: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Picture of empty glass, for its color.")
    ] = None,
    size: Size = None,
    objectives: ObjectivesFile = PLAIN_OBJECTIVES,
) -> None:
    """Measure an objective once: how large a pixel is under it.

    Examples:

        pathology live calibrate --objective 20x --picture micrometer.png --division-um 10

        pathology live calibrate --objective 10x --length-um 1000 --length-px 2898
    """
    from pipelines.live_calibrate import CalibrateOptions
    from pipelines.live_calibrate import calibrate as measure
    from pipelines.live_sources import SourceOptions, size_of

    options = CalibrateOptions(
        objective, objectives, picture, source, division_um, length_um, length_px, glass,
        SourceOptions(size_of(size)),
    )  # fmt: skip
    found = measure(options)
    print(f"{objective}: {found.mpp:.5g} um/px ({found.how}), kept in {objectives}")


@live.command()
def limits(
    taught: Annotated[
        Path,
        typer.Argument(metavar="TAUGHT", help="Pictures, slides or a run MODEL was taught on."),
    ],
    model: Annotated[Path, typer.Option(metavar="MODEL", help="What `pathology train` made.")],
    assume_mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of pictures that state none.")
    ] = None,
    stain: Stain = None,
    weights: Weights = None,
) -> None:
    """Learn once how a model's own pictures look, so that others are flagged and not graded.

    Written to MODEL.limits.npz, which `live` takes up. One in a hundred of the taught tiles is
    beyond each limit. Example:

        pathology live limits camera --model scope.pt --assume-mpp 0.5
    """
    from itertools import count

    from pathology.inference.taught_limits import limits_path
    from pipelines.input_kinds import look_at
    from pipelines.live_limits import write_limits
    from pipelines.progress import counting

    done = count(1)
    with counting("limits", look_at(taught).num_members, "slides") as show:
        found = write_limits(
            model, taught, assume_mpp=assume_mpp, weights=weights, stain=stain,
            on_slide=lambda: show(next(done), ""), say=typer.echo,
        )  # fmt: skip
    print(f"{limits_path(model)}: by {found.num_tiles} tiles of {found.num_pictures} pictures")
    print(
        f"  sharpness at least {found.min_sharpness:.1f}, distance at most {found.max_distance:.1f}"
    )
