"""The command that carries a classifier to another domain."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from pipelines.cli_learn import Device, train
from pipelines.cli_options import ConfigFile, Overrides

__all__ = ["train"]


@train.command("adapt")
def train_adapt(
    source: Annotated[
        Path,
        typer.Option(metavar="SOURCE", help="Labelled: a manifest with labels, a run, features."),
    ],
    target: Annotated[
        Path,
        typer.Option(
            metavar="TARGET", help="Unlabelled: a folder of pictures, a manifest, a run, features."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="MODEL", help="The model, e.g. scope.pt; MODEL.run beside it.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="dman+mcc (default), dman, source, adabn, coral, mmd, dann, cdan, entropy, mcc, "
            "sdat, self-training, mic, couda, target; with + several."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="The source's labels, if it is no manifest itself."),
    ] = None,
    tile_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Predictions of a weakly taught model on SOURCE, a run: its tiles are labelled by "
            "them, where they are sure, and by no grade above their slide's.",
        ),
    ] = None,
    target_labels: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="For figures, and for method target alone."),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(
            help="Cut the source's tiles at this; pictures that state no resolution have it."
        ),
    ] = None,
    target_mpp: Annotated[
        str | None,
        typer.Option(metavar="MPP|auto", help="Of pictures that state none; auto: by their looks."),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and splits.")] = None,
    weights: Annotated[Path | None, typer.Option(help="File of the encoder's weights.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Start from its weights, e.g. a head of features."),
    ] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one for each GPU.")] = 1,
    precision: Annotated[Literal["32", "bf16"], typer.Option(help="bf16 on a GPU.")] = "32",
) -> None:
    """Learn from labelled tiles, and read the unlabelled ones of a microscope or another scanner.

    No label of the target is looked at: slides (or labelled pictures) teach the classes, the
    target's own pictures teach how they look there. Methods add up (dman+mcc). Tiles pass through a
    frozen encoder once, and training takes minutes on a CPU; with encoder_rate above 0 the encoder
    learns, too. Running the same command again goes on where it was stopped. Examples:

        pathology train adapt --source slides.csv --target camera --out scope.pt

        pathology train adapt --source RUN --labels slides.csv --target camera --target-mpp 0.5
        --out scope.pt

        pathology train adapt --source slides.csv --target camera --out all.pt
        --set encoder_rate=0.1 --set augmented=4
    """
    from pathology.adapt.config import AdaptConfig
    from pathology.core.config import load_config
    from pathology.core.output_place import require_model_place, run_folder
    from pipelines.adapt_features import look_at_domain
    from pipelines.adapt_processes import launched, read_together
    from pipelines.adapt_scores import score_lines
    from pipelines.adapt_train import AdaptOptions, Domains, has_twin, read_domains
    from pipelines.adapt_train import train_adapt as run_training
    from pipelines.first_process import is_first, tell
    from pipelines.given_mpp import MAX_TILE_MPP, require_mpp
    from pipelines.progress import counting
    from pipelines.training_progress import training_progress

    require_model_place(
        out, source, target, labels, target_labels, weights, config, start, tile_labels
    )
    require_mpp(mpp, "--mpp", MAX_TILE_MPP)
    words = [f"method={method}"] if method else []
    words += [] if seed is None else [f"seed={seed}"]
    settings = load_config(AdaptConfig, config, [*(set_ or ()), *words])
    options = AdaptOptions(
        device=device, num_devices=devices, precision=precision, labels=labels,
        target_labels=target_labels, mpp=mpp, target_mpp=_mpp_of(target_mpp), weights=weights,
        start=start, tile_labels=tile_labels,
    )  # fmt: skip
    fabric, folder = launched(settings, options), run_folder(out)
    title = "tiles" if settings.is_pixels else "features"

    def read() -> Domains:
        one, other = look_at_domain(source), look_at_domain(target)
        with counting(title, one.num_members + other.num_members, "slides") as show_slide:
            done = count(1)
            return read_domains(
                one, other, settings, options, folder,
                on_slide=lambda: show_slide(next(done), ""), say=tell,
            )  # fmt: skip

    domains = read_together(read, folder)
    total = settings.steps * (2 if has_twin(settings) else 1)  # a twin of the source alone
    with training_progress("train", total, is_shown=is_first()) as on_step:
        card = run_training(
            domains, out, settings, options, fabric=fabric, on_step=on_step, say=tell
        )
    tell(f"{out}: {' < '.join(card.grades)} for {card.target} by {card.method}, research use only")
    for line in score_lines(card.metrics, card.grades):
        tell(f"  {line}")
    assumed = f" --assume-mpp {domains.assumed_mpp:g}" if domains.assumed_mpp else ""
    names = f"{quote(str(out))} {quote(str(target))}"
    tell(f"Next: pathology predict {names} --out predictions.csv{assumed}")


def _mpp_of(word: str | None) -> float | Literal["auto"] | None:
    """Microns per pixel, or that they are to be guessed. Raises ConfigError for neither."""
    from pathology.core.errors import ConfigError
    from pipelines.given_mpp import require_mpp

    if word is None or word == "auto":
        return word if word is None else "auto"
    try:
        found = float(word)
    except ValueError as error:
        raise ConfigError(f"--target-mpp {word}: neither a number nor auto") from error
    require_mpp(found, "--target-mpp")
    return found
