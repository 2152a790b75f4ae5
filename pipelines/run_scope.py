"""The stages of a run at the microscope: the classifier carried there, its answers, its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from pathology.adapt.config import AdaptConfig
from pathology.core.artifact import content_digest
from pathology.core.config import StageConfig
from pathology.core.output_place import run_folder
from pathology.models.card import load_classifier
from pathology.training.fabric import device_of
from pipelines.adapt_domains import AdaptOptions, Domains, read_domains
from pipelines.adapt_processes import launched, read_together
from pipelines.adapt_train import assumed_mpp, has_twin, train_adapt
from pipelines.adapt_weights import weights_of
from pipelines.evaluate import evaluate
from pipelines.first_process import is_first, tell
from pipelines.input_kinds import TileInput, look_at
from pipelines.predict import SlideGrade, predict
from pipelines.prediction_tables import slides_table
from pipelines.progress import counting
from pipelines.run_config import MicroscopeImages
from pipelines.run_plan import Planned, recipe_of, table_digest, tiles_digest
from pipelines.stages import Stage
from pipelines.tile_for_model import CutOptions, tile_for_model
from pipelines.training_progress import training_progress


def scope_stages(run: Planned, images: MicroscopeImages) -> list[Stage]:
    """adapt, microscope."""
    folder, pictures = run.folder, look_at(run.home / images.images)
    config = adapt_config(run)
    methods = methods_of(config.method, images, pictures)
    seen = table_digest((s.slide_id, s.mpp, s.label, s.split, _stamp(s.slide_path))
                        for s in pictures.slides)  # fmt: skip

    def of_adapt() -> str:
        weights = weights_of({slide.slide_id: slide for slide in run.labels.slides})
        return recipe_of(
            "adapt", config, images=seen, mpp=str(images.mpp), tiles=tiles_digest(folder.out),
            labels=content_digest(folder.predictions), methods=" ".join(methods),
            weights=table_digest(sorted(weights.items())),
        )  # fmt: skip

    def of_answers() -> str:
        models = table_digest([[content_digest(folder.adapted(m))] for m in methods])
        return recipe_of("microscope", StageConfig(), images=seen, models=models)

    answers = [folder.scope_predictions(method) for method in methods]
    return [
        Stage(
            "adapt",
            partial(_adapt, run, config, pictures, methods),
            of_adapt,
            tuple(folder.adapted(method) for method in methods),
            ("tile", "predict"),
            is_shared=True,
        ),
        Stage(
            "microscope",
            partial(_microscope, run, config, pictures, methods),
            of_answers,
            (*answers, *map(slides_table, answers)),
            ("adapt",),
        ),
    ]


def adapt_config(run: Planned) -> AdaptConfig:
    """The settings of adaptation, as far as the run decides them."""
    config, changes = run.config.adapt, {}
    grades = run.config.weak.grades if run.config.weak else ()
    if grades and not config.classes and not config.class_map:
        changes["classes"] = grades
    edge = run.config.tile.tile.size_px
    return config.model_copy(update={**changes, "size_px": min(config.size_px, edge)})


def methods_of(method: str, images: MicroscopeImages, pictures: TileInput) -> list[str]:
    """The run's method, and those beside it where pictures have labels to be judged by."""
    labels = {slide.label for slide in pictures.slides if slide.label and slide.split != "test"}
    beside = images.compare if len(labels) > 1 else ()
    return list(dict.fromkeys([method, *beside]))


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, by which a picture that was replaced is known."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _adapt(run: Planned, config: AdaptConfig, pictures: TileInput, methods: list[str]) -> int:
    domains, options = None, _options(run)
    fabric = launched(config, options)
    for method in methods:
        one = config.model_copy(update={"method": method})
        out = run.folder.adapted(method)
        if domains is None or config.is_pixels:  # pixels are removed after each training
            domains = read_together(partial(_read, run, one, pictures), run_folder(out))
        total = one.steps * (2 if has_twin(one) else 1)
        with training_progress(f"adapt, {method}", total, is_shown=is_first()) as on_step:
            train_adapt(domains, out, one, options, fabric=fabric, on_step=on_step, say=tell)
    return 0


def _options(run: Planned) -> AdaptOptions:
    images = run.config.microscope
    return AdaptOptions(
        device=run.options.device, num_devices=run.options.num_devices, labels=run.manifest,
        tile_labels=run.folder.predictions,
        target_mpp=images.mpp if images else None, weights=run.encoder_weights,
    )  # fmt: skip


def _read(run: Planned, config: AdaptConfig, pictures: TileInput) -> Domains:
    """Slides whose tiles the weak classifier labels, and pictures that do not test."""
    source = look_at(run.folder.out)
    kept = tuple(slide for slide in pictures.slides if slide.split != "test")
    target = replace(pictures, slides=kept)
    num = source.num_members + target.num_members
    with counting("features", num, "slides and pictures") as show:
        done = count(1)
        return read_domains(
            source, target, config, _options(run),
            run_folder(run.folder.adapted(config.method)),
            on_slide=lambda: show(next(done), ""), say=tell,
        )  # fmt: skip


def _counted(show: Callable[[int, str], None]) -> Callable[[SlideGrade], None]:
    done = count(1)
    return lambda grade: show(next(done), f"{grade.slide_id} {grade.grade}")


def _microscope(run: Planned, config: AdaptConfig, pictures: TileInput, methods: list[str]) -> int:
    """Answers of each classifier on all pictures, judged where these have labels."""
    code, images = 0, run.images
    assert images is not None  # noqa: S101  the stage is there for them
    first = run.folder.adapted(methods[0])
    card, _ = load_classifier(first)
    mpp = assumed_mpp(first) or card.tiles.mpp
    cut = CutOptions(run.folder.microscope / "tiles", assume_mpp=mpp, workers=run.options.workers)
    only = tile_for_model(first, images, cut)  # all of them want the same tiles
    for method in methods:
        model, out = run.folder.adapted(method), run.folder.scope_predictions(method)
        with counting(f"predict, {method}", len(only), "pictures") as show:
            found = predict(
                model, cut.out, out, device=device_of(run.options.device), only=only,
                weights=run.encoder_weights, on_slide=_counted(show),
            )  # fmt: skip
        code = max(code, int(any(grade.problem for grade in found)))
        if pictures.path.is_file() and any(slide.label for slide in pictures.slides):
            place = run.folder.scope_evaluation(method)
            evaluate(out, images, place)
    return code
