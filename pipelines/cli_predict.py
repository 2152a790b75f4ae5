"""The commands that use classifiers: predict, evaluate."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from pipelines.cli_learn import Device


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What `pathology train` made.")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A tiling run, a store or features; or a slide, a picture, a folder of them or "
            "a manifest, which are tiled as MODEL wants first.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="CSV", help="A row for each tile; beside it .slides.csv.")
    ],
    maps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also a picture of every slide's grades.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File of the encoder's weights, if it is not in MODEL.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where a manifest's relative paths start.")
    ] = None,
    assume_mpp: Annotated[
        float | None,
        typer.Option(metavar="UM", help="Resolution of slides and pictures that state none."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Grade tiles and slides.

    Columns: slide_id, l0_x, l0_y, l0_edge (level-0 pixels), `prob_<grade>`, benign first. Slides
    have a grade, probabilities, and an entropy from 0 (sure) to 1; is_taught says whether MODEL
    learned from them, is_picture whether they are flat pictures, `own_<grade>` what a method that
    pools or attends makes of them itself. A slide that cannot be read has a row that says why.
    Example:

        pathology predict grades.pt features --out predictions.csv --maps maps
        pathology predict grades.pt biopsy.svs --out biopsy.csv

    Slides are tiled into <CSV's name>.tiles, which may be deleted afterwards, or kept: then the
    next call with the same slides only tiles what is new.
    """
    from pathology.training.fabric import device_of
    from pipelines.given_mpp import require_mpp
    from pipelines.grade_maps import draw_maps
    from pipelines.predict import predict as run_prediction
    from pipelines.prediction_tables import beside, require_table_place, slides_table
    from pipelines.progress import progress
    from pipelines.tile_for_model import CutOptions, has_tiles, tile_for_model
    from pipelines.weak_inputs import num_slides

    require_table_place(out, model, source, weights)
    require_mpp(assume_mpp, "--assume-mpp")
    only = None
    if not has_tiles(source):
        cut = CutOptions(beside(out, ".tiles"), data_root, assume_mpp)
        only = tile_for_model(model, source, cut)
        source = cut.out
    speeds: list[str] = []
    with progress("predict", num_slides(source) if only is None else len(only)) as shown:
        found = run_prediction(
            model,
            source,
            out,
            device=device_of(device),
            weights=weights,
            only=only,
            on_slide=lambda grade: shown.item(grade.line()),
            on_tiles=shown.step,
            say=speeds.append,
        )
    failed = [grade for grade in found if grade.problem]
    for speed in speeds:
        print(speed)
    print(f"{out} and {slides_table(out)}: {len(found)} slides, research use only")
    if failed:
        print(f"{len(failed)} slides have no grade, see problem in {slides_table(out)}")
    if maps is not None:
        print(f"Maps: {len(draw_maps(out, maps))} pictures in {maps}")
    if len(failed) < len(found):
        print(f"Next: pathology evaluate {quote(str(out))} --labels MANIFEST --out DIR")
    raise typer.Exit(1 if failed else 0)


def evaluate(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="CSV",
            help="What `pathology predict` wrote; of folds all of their tables: each slide is "
            "judged by the model that it did not teach.",
        ),
    ],
    labels: Annotated[
        Path, typer.Option(metavar="MANIFEST", help="Table with slide_id, case_id, label, centre.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of figures and plots.")],
    split: Annotated[
        str,
        typer.Option(
            metavar="PART",
            help="Only slides of this part of the manifest's column split, or all. Default: test, "
            "where any slide is marked so; else all that did not teach the model.",
        ),
    ] = "",
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=GRADE",
            help="What a label of MANIFEST means among the grades of CSV, e.g. "
            "adenocarcinoma=malignant; for each label that has another name. What `train adapt` "
            "was told is known from CSV's .run.json, where that lies beside it.",
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where relative paths of maps start.")
    ] = None,
) -> None:
    """Judge predictions: slides by their labels; tiles by maps of grades, where there are any.

    Balanced accuracy, AUROC, average precision, quadratic kappa, recall of each grade, calibration
    error, and the share of tiles graded worse than their slide; of all and of each centre, with
    95 % intervals that draw whole cases. A column truth_path of the manifest names maps of grades:
    8-bit pictures of the whole slide, 0 unknown, k + 1 for grade k. Tiles of flat pictures (photos
    of a camera, whose one label is true of all of them) are judged by it where there is no map;
    those of slides never are. Slides that are left out, say for want of a label or a grade, are
    counted first; DIR/not_judged.csv names all of them. Slides that taught the model, or chose it,
    are among them unless a part is judged; then a line names them. Where a method has an answer of
    its own for slides, it is judged, too.
    Examples:

        pathology evaluate predictions.csv --labels slides.csv --out eval

        pathology evaluate 0.csv 1.csv 2.csv --labels slides.csv --out folds

        pathology evaluate scope.csv --labels camera.csv --class-map n=benign
        --class-map aca=malignant --out eval
    """
    from pipelines.class_map import parse_class_map
    from pipelines.evaluate import NAMES, judged_slides
    from pipelines.evaluate import evaluate as judge
    from pipelines.evaluate_levels import ALL

    found = judge(predictions, labels, out, split, parse_class_map(class_map or ()), root=data_root)
    print(f"Judged: {judged_slides(found)}")
    for level, name in NAMES.items():
        figures = found.get(level, {}).get(ALL)
        if figures is None:
            continue
        said = name.replace("_own", " by the method itself")
        said += f" (by {found['tile_truth']})" if level == "tile" and found["tile_truth"] else ""
        print(f"{said} of {figures['num_cases']} cases:")
        for name, value in figures.items():
            if name != "num_cases" and value["value"] == value["value"]:
                print(
                    f"  {name.replace('_', ' '):22} {value['value']:.3f} "
                    f"[{value['low']:.3f}, {value['high']:.3f}]"
                )
    if found["not_judged"]:
        print(f"Slides left out: {out / 'not_judged.csv'}")
    print(f"Figures: {out / 'metrics.json'}, {out / 'metrics.csv'}, and plots; research use only")
