"""The stain commands that learn and judge: train, styles, evaluate; the others stand beside."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from pipelines.cli_options import AssumeMpp, ConfigFile, Overrides
from pipelines.cli_stain import stain

__all__ = ["stain"]

Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the networks run.")
]


@stain.command("train")
def stain_train(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="Slides of other styles: tiling runs, stores, folders of pictures, manifests.",
        ),
    ],
    target: Annotated[Path, typer.Option(help="Slides of the one style to render towards.")],
    out: Annotated[
        Path, typer.Option(metavar="MODEL", help="The model, e.g. style.pt; MODEL.run beside it.")
    ],
    config: ConfigFile = None,
    set_: Overrides = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one for each GPU.")] = 1,
    precision: Annotated[Literal["32", "bf16"], typer.Option(help="bf16 on a GPU.")] = "32",
    assume_mpp: AssumeMpp = None,
    panel_every: Annotated[
        int, typer.Option(min=1, help="Steps between checkpoints and pictures of sample tiles.")
    ] = 100,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write MODEL.run/tensorboard.")
    ] = False,
    is_compiled: Annotated[
        bool, typer.Option("--compile", help="Faster steps on a GPU, after a minute.")
    ] = False,
) -> None:
    """Learn to render any source in the target's style: a style-conditioned CycleGAN.

    No pairs are needed. The defaults are a small network that two CPU cores train in minutes;
    stain_full.yaml of `pathology init` is the full-size one, for a GPU. Running the same command
    again goes on where it was stopped. Examples:

        pathology stain train RUN_A RUN_B --target RUN_C --out style.pt

        pathology stain train RUN --target RUN_C --out style.pt --set 'holdout_centres=[centre4]'
    """
    from pathology.core.config import load_config
    from pathology.core.output_place import run_folder
    from pathology.stain.cycle_config import CycleConfig
    from pipelines.first_process import is_first, tell
    from pipelines.given_mpp import require_mpp
    from pipelines.stain_train import TrainOptions, train_model
    from pipelines.training_progress import training_progress

    require_mpp(assume_mpp, "--assume-mpp")
    settings = load_config(CycleConfig, config, set_ or ())
    options = TrainOptions(
        device=device,
        num_devices=devices,
        precision=precision,
        panel_every=panel_every,
        assume_mpp=assume_mpp,
        tensorboard=tensorboard,
        is_compiled=is_compiled,
    )
    with training_progress("train", settings.steps, is_shown=is_first()) as show:

        def on_step(step: int, values: dict[str, float]) -> None:
            cycle = values["cycle_source"] + values["cycle_target"]
            show(step, {"adversarial": values["adversarial"], "cycle": cycle})

        model = train_model(sources, target, out, settings, options, on_step=on_step, say=tell)
    tell(f"{out}: trained, fingerprint {model.fingerprint}")
    for quality, found in model.card.fidelity.items():
        tell(f"  {quality} to teacher: PSNR {found.psnr:.1f} dB, SSIM {found.ssim:.3f}")
    run = run_folder(out)
    tell(f"Look at {run}/panel.png, panels and curves.png (research use only)")
    tell(f"Next: pathology stain apply INPUT --model {quote(str(out))} --out OUT")


@stain.command("styles")
def stain_styles(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A run, store, folder, manifest or slide.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="CSV", help="Also as a table.")] = None,
    tiles_per_slide: Annotated[int, typer.Option(min=1, help="Tiles that are measured.")] = 64,
    config: ConfigFile = None,
    set_: Overrides = None,
    assume_mpp: AssumeMpp = None,
) -> None:
    """Show each slide's stain vectors, and keep its tiles' own in its store.

    Training reads those with is_source_told=false. Example:

        pathology stain styles RUN --out styles.csv
    """
    from pathology.core.config import load_config
    from pathology.core.output_place import require_file_place
    from pathology.stain.config import StainConfig
    from pipelines.given_mpp import require_mpp
    from pipelines.stain_styles import list_styles, write_styles

    require_mpp(assume_mpp, "--assume-mpp")
    if out is not None:
        require_file_place(out, source)
    settings = load_config(StainConfig, config, set_ or ())
    rows = list_styles(source, settings, tiles_per_slide, assume_mpp)
    for row in rows:
        print(row.line())
    if out is not None:
        write_styles(out, rows)
    raise typer.Exit(1 if any(row.problem for row in rows) else 0)


@stain.command("evaluate")
def stain_evaluate(
    source: Annotated[
        Path, typer.Argument(help="A run, store, folder of pictures, manifest or slide.")
    ],
    target: Annotated[Path, typer.Option(help="The style that is aimed at; the same kinds.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the tables and the page.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL", help="A model; repeatable. Learned: MODEL:teacher|student|lut."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="CSV of two columns of pictures, or a folder of references."),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    device: Device = "cpu",
    assume_mpp: AssumeMpp = None,
) -> None:
    """Compare models, and none, on SOURCE: structure, color, seams, nuclei, speed; one page.

    Example:

        pathology stain evaluate RUN --model a.json --model b.pt:lut --target CENTRE0 --out eval
    """
    from pathology.core.config import load_config
    from pathology.evaluation.stain_config import StainEvaluationConfig
    from pipelines.given_mpp import require_mpp
    from pipelines.stain_evaluate import PAGE, evaluate_stain, problem_lines, summary_lines

    require_mpp(assume_mpp, "--assume-mpp")
    given = [] if assume_mpp is None else [f"assume_mpp={assume_mpp}"]
    settings = load_config(StainEvaluationConfig, config, [*(set_ or ()), *given])
    found = evaluate_stain(source, target, model or [], out, settings, pairs, device=device)
    print("\n".join([*summary_lines(found), *problem_lines(found)]))
    print(f"Page: {out / PAGE}")
    raise typer.Exit(1 if found.problems else 0)
