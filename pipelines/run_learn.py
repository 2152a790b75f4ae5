"""The stages of a run between tiles and figures: features, a tile classifier, its answers."""

from __future__ import annotations

from functools import partial

from pathology.core.artifact import content_digest
from pathology.core.config import StageConfig
from pathology.data.splits import ids_that_never_train
from pathology.training.fabric import device_of
from pathology.weak.config import WeakConfig
from pipelines.evaluate import evaluate
from pipelines.feature_table import TABLE, read_table
from pipelines.features import FeatureOptions, extract_features
from pipelines.first_process import is_first, tell
from pipelines.grade_maps import draw_maps
from pipelines.predict import predict
from pipelines.prediction_tables import slides_table
from pipelines.progress import progress
from pipelines.run_plan import Planned, recipe_of, table_digest, tiles_digest
from pipelines.run_stores import stores_of
from pipelines.stages import Stage
from pipelines.tile_truth import truth_digest
from pipelines.training_progress import training_progress
from pipelines.weak_inputs import num_slides
from pipelines.weak_train import WeakOptions, plan_weak, train_planned


def weak_stages(run: Planned, config: WeakConfig) -> list[Stage]:
    """features, weak, predict, evaluate."""
    folder = run.folder
    upstream = "tile" if run.config.stain is None else "stain"

    def of_weak() -> str:
        return recipe_of("weak", config, features=_features_digest(run), labels=_labels(run))

    def of_predictions() -> str:
        model = content_digest(folder.weak)
        return recipe_of("predict", StageConfig(), model=model, features=_features_digest(run))

    def of_evaluation() -> str:
        answers = content_digest(folder.predictions)
        return recipe_of("evaluate", StageConfig(), predictions=answers, labels=_labels(run))

    return [
        Stage(
            "features",
            partial(_extract, run),
            lambda: _of_features(run),
            (folder.features / TABLE,),
            (upstream,),
            is_thrifty=True,
        ),
        Stage(
            "weak",
            partial(_train, run, config),
            of_weak,
            (folder.weak,),
            ("features",),
            is_shared=True,
        ),
        Stage(
            "predict",
            partial(_predict, run),
            of_predictions,
            (folder.predictions, slides_table(folder.predictions), folder.maps),
            ("weak",),
        ),
        Stage(
            "evaluate",
            partial(_evaluate, run),
            of_evaluation,
            (folder.evaluation / "metrics.json",),
            ("predict",),
        ),
    ]


def _features_digest(run: Planned) -> str:
    """Of the features as they are on disk: which slides have some, and of what."""
    rows = read_table(run.folder.features / TABLE)
    there = [(row.slide_id, row.num_tiles, row.status in ("done", "kept")) for row in rows]
    return table_digest([*there, (_of_features(run),)])


def _of_features(run: Planned) -> str:
    weights = content_digest(run.encoder_weights) if run.encoder_weights else ""
    inputs = {"tiles": tiles_digest(run.tiles), "weights": weights}
    if run.config.features.augmented:
        inputs["plain"] = table_digest([sorted(ids_that_never_train(run.labels.slides))])
    return recipe_of("features", run.config.features, **inputs)


def _labels(run: Planned) -> str:
    """Of what the table says of each slide, and of the maps of grades that it names."""
    root = run.manifest.parent
    return table_digest(
        (s.slide_id, s.case_id, s.label, s.centre, s.split, truth_digest(s, root))
        for s in run.labels.slides
    )


def _extract(run: Planned) -> int:
    options = FeatureOptions(
        device=run.options.device, weights=run.encoder_weights, scheduler=run.options.scheduler
    )
    with progress("features", len(stores_of(run.tiles))) as shown:
        found = extract_features(
            run.tiles, run.folder.features, run.config.features, options,
            plain=ids_that_never_train(run.labels.slides),
            on_tiles=shown.step, on_slide=lambda outcome: shown.item(outcome.line()),
        )  # fmt: skip
    return int(any(row.status == "failed" for row in found))


def _train(run: Planned, config: WeakConfig) -> int:
    options = WeakOptions(device=run.options.device, num_devices=run.options.num_devices)
    plan = plan_weak(run.folder.features, run.manifest, config, options, tell)
    shown = training_progress("weak", plan.num_steps, plan.tiles_per_step, is_shown=is_first())
    with shown as on_step:
        train_planned(plan, run.folder.weak, options, on_step=on_step, say=tell)
    return 0


def _predict(run: Planned) -> int:
    folder = run.folder
    with progress("predict", num_slides(folder.features)) as shown:
        found = predict(
            folder.weak, folder.features, folder.predictions,
            device=device_of(run.options.device), say=print,
            on_slide=lambda grade: shown.item(grade.line()), on_tiles=shown.step,
        )  # fmt: skip
    folder.maps.mkdir(exist_ok=True)
    draw_maps(folder.predictions, folder.maps)
    return int(any(grade.problem for grade in found))


def _evaluate(run: Planned) -> int:
    evaluate(run.folder.predictions, run.manifest, run.folder.evaluation)
    return 0
