"""The serve command: a tiling run, its predictions and a stain model, as a page in a browser."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pathology.core.errors import ArtifactError
from pathology.core.manifest import SlideRecord, read_manifest
from pathology.core.table import first_of
from pathology.core.web_access import LOCAL_NAMES, is_loopback, page_address
from pathology.evaluation.remarks import is_simulated
from pathology.slides.reader import SlideReader
from pathology.slides.resolution import decide_spacing
from pathology.stain.config import StainConfig
from pathology.stain.normalizer import SlideNormalizer
from pathology.tiling.outcome import DONE, SlideOutcome
from pathology.viewer.repaint import FitSlide
from pathology.viewer.scene import Scene, ViewedSlide
from pipelines.listening import listen
from pipelines.overlay_table import SlideSaid, read_overlays, read_slides_said
from pipelines.prediction_tables import slides_table
from pipelines.tables import read_process_list

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class ServeOptions:
    """What is shown and to whom; see the command's help for each."""

    run: Path
    predictions: Path | None = None
    stain: Path | None = None
    slides: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    with_token: bool = False
    cache_mib: int = 128


def serve(options: ServeOptions) -> None:
    """Show a run until interrupted. Raises ArtifactError or ConfigError before anything starts."""
    import cv2
    import uvicorn

    from pathology.viewer.app import viewer_app

    cv2.setNumThreads(1)  # tiles are made side by side already
    scene = scene_of(options)
    is_local = is_loopback(options.host)
    token = secrets.token_urlsafe(24) if options.with_token or not is_local else None
    hosts = LOCAL_NAMES | {options.host, f"[{options.host}]"} if is_local else None
    listener = listen(options.host, options.port)
    app = viewer_app(scene, title_of(options.run), token=token, hosts=hosts)
    num_shown = sum(slide.overlay is not None for slide in scene.slides.values())
    print(f"Research use only. {len(scene.slides)} slides, {num_shown} of them with predictions.")
    if lost := lost_line(scene, options.slides):
        print(lost)
    if not is_local:
        print("Other machines can reach this page with the token; what they read is not encrypted.")
    print(f"Open {page_address(options.host, listener.getsockname()[1], token or '')}", flush=True)
    print("Ctrl-C ends it.", flush=True)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    with contextlib.suppress(KeyboardInterrupt):  # raised again when all is shut down in order
        uvicorn.Server(config).run(sockets=[listener])


def lost_line(scene: Scene, table: Path | None) -> str:
    """Which slides of a run have no file any more, in a line; "" where all have theirs.

    table  of the slides, where one was given
    """
    slides = [slide for slide in scene.slides.values() if slide.record or slide.num_tiles]
    lost = [slide.slide_id for slide in slides if not _has_file(slide)]
    if not lost:
        return ""
    ids = first_of([name if name.isprintable() else ascii(name) for name in lost])
    num = "None" if len(lost) == len(slides) else f"Only {len(slides) - len(lost)}"
    remedy = "Give --slides, a table or folder of where they lie now"
    if table is not None:
        remedy = f"Correct {table}, which --slides names"
    return f"{num} of {len(slides)} slide files found; missing: {ids}. {remedy}."


def _has_file(slide: ViewedSlide) -> bool:
    try:
        return slide.record is not None and slide.record.slide_path.exists()
    except OSError:  # such as a folder that may not be entered
        return False


def title_of(run: Path) -> str:
    """The name of a run, and whether its slides were made by the simulator."""
    is_drawn = is_simulated(read_process_list(run / "process_list.csv"), {})
    return run.resolve().name + (": simulated slides, not patients" if is_drawn else "")


def scene_of(options: ServeOptions) -> Scene:
    """All that is shown. Raises ArtifactError for a folder that is no run, and for tables and
    models that cannot be read.
    """
    outcomes = read_process_list(options.run / "process_list.csv")
    if not outcomes:
        raise ArtifactError(
            f"{options.run}: no run here (no process_list.csv). Give the folder that "
            "'pathology tile' wrote"
        )
    records = _records(options, outcomes)
    slides = [_viewed(outcome, records.get(outcome.slide_id)) for outcome in outcomes]
    table = options.predictions or find_predictions(options.run)
    if table is not None:
        slides = with_predictions(slides, table)
    fit, colors = _fit(options.stain) if options.stain else (None, "")
    return Scene(slides, fit, colors=colors, cache_bytes=options.cache_mib << 20)


def find_predictions(run: Path) -> Path | None:
    """The table of tiles that belongs to a run: RUN/predictions.csv, or X.csv beside X.tiles."""
    beside = [run.with_suffix(".csv")] if run.suffix == ".tiles" else []
    return next((path for path in (run / PREDICTIONS, *beside) if path.is_file()), None)


def with_predictions(slides: Iterable[ViewedSlide], table: Path) -> list[ViewedSlide]:
    """The slides with their overlays, and with their grades where the table of slides is there.

    Raises ArtifactError for a table that is none, or of other slides.
    """
    slides, overlays = list(slides), read_overlays(table)
    if overlays and not overlays.keys() & {slide.slide_id for slide in slides}:
        raise ArtifactError(f"{table}: none of its slides is in the run. Give the run's own table")
    grades = read_slides_said(slides_table(table))
    found = []
    for slide in slides:
        said = grades.get(slide.slide_id, SlideSaid())
        problem = slide.problem or (f"no predictions: {said.problem}" if said.problem else "")
        found.append(
            replace(
                slide,
                overlay=overlays.get(slide.slide_id),
                grade=said.grade,
                probability=said.probability,
                problem=problem,
            )
        )
    return found


def _viewed(outcome: SlideOutcome, record: SlideRecord | None) -> ViewedSlide:
    problem = "" if outcome.status == DONE else f"{outcome.status}: {outcome.reason}".rstrip(": ")
    return ViewedSlide(outcome.slide_id, record, problem, outcome.num_tiles)


def _records(options: ServeOptions, outcomes: Iterable[SlideOutcome]) -> dict[str, SlideRecord]:
    """Where each slide's file lies: as the run recorded it, or as a table given anew says."""
    if options.slides is not None:
        given = {record.slide_id: record for record in read_manifest(options.slides).slides}
        return {
            outcome.slide_id: replace(
                given[outcome.slide_id], mpp=given[outcome.slide_id].mpp or outcome.mpp
            )
            for outcome in outcomes
            if outcome.slide_id in given
        }
    root = _root(options.run)
    return {
        outcome.slide_id: SlideRecord(
            slide_id=outcome.slide_id,
            slide_path=_found(Path(outcome.slide_path), outcome.slide_bytes, root),
            case_id=outcome.case_id,
            label=outcome.label,
            centre=outcome.centre,
            mpp=outcome.mpp,
        )
        for outcome in outcomes
        if outcome.slide_path
    }


def _root(run: Path) -> list[Path]:
    """Folders that relative paths of a run may start from: those above the run, and this one."""
    return [*run.resolve().parents, Path.cwd()]


def _found(path: Path, num_bytes: int | None, roots: list[Path]) -> Path:
    """The path, from the first folder where there is a file of this name and size.

    Where none is of the size, such as a folder, the first of this name.
    """
    there = [root / path for root in roots if (root / path).exists()]
    same = [one for one in there if one.is_file() and one.stat().st_size == num_bytes]
    return next(iter(same or there), path)


def _fit(path: Path) -> tuple[FitSlide, str]:
    """What fits the colors of a slide to a model's, as `stain apply` does with whole slides.

    The fingerprint is the model's.
    """
    from pathology.stain.load import load_model
    from pipelines.stain_recipe import Recipe
    from pipelines.stain_slide import fit_slide

    recipe = Recipe(load_model(path), StainConfig(quality="lut"))

    def fit(slide: SlideReader, record: SlideRecord) -> SlideNormalizer:
        spacing = decide_spacing(record.slide_id, record.mpp, slide.facts.spacings, None)
        return fit_slide(slide, record, spacing, recipe)

    return fit, recipe.model.fingerprint
