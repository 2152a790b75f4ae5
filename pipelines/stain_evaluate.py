"""The evaluation of stain models: slides in, tables and one page of proof out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pathology.core.artifact import fingerprint, write_text
from pathology.core.errors import ArtifactError, PathologyError, SlideError
from pathology.core.output_place import require_folder_place, require_own
from pathology.core.run_record import environment, now, versions, write_run_record
from pathology.core.table import first_lines
from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.evaluation.stain_page import Panel, Picture, StainFindings, render_stain_page
from pathology.evaluation.stain_scores import SlideScores
from pathology.evaluation.stain_summary import NONE, PairScore, Summary, summarize
from pathology.stain.macenko import estimate_stains
from pathology.stain.matrix import Floats
from pathology.stain.stains import ONE_STAIN
from pipelines.input_kinds import look_at
from pipelines.progress import progress
from pipelines.raw_tiles import require_raw
from pipelines.stain_measure import (
    SlideMeasured,
    measure_slide,
    most_stained,
    picture_of,
    target_profile,
)
from pipelines.stain_models import NamedModel, load_models
from pipelines.stain_pairs import Pair, read_pairs, score_pairs
from pipelines.tile_samples import Sampling, SlideTiles, iter_samples

EVALUATION_SCHEMA = 2
MAX_PANELS = 6
PAGE, RECORD, TABLES = "stain.html", "evaluation.json", ("summary", "slides", "pairs")
MAX_TOLD = 10
MORE_LIBRARIES = ("scikit-image", "scipy", "torch")


def evaluate_stain(
    source: Path,
    target: Path,
    models: Sequence[str],
    out: Path,
    config: StainEvaluationConfig,
    pairs: Path | None = None,
    *,
    device: str = "cpu",
) -> StainFindings:
    """Measure models, and none, on the slides of SOURCE; write tables and a page below out.

    source, target  each a tiling run, a store, a folder of images, a manifest or a slide
    models          files, each with :teacher, :student or :lut behind it where it is learned
    pairs           a CSV of pairs, or a folder of references; see read_pairs
    device          where networks of learned models run
    Raises PathologyError where models, target or every slide cannot be used, and where models
    would normalize what is normalized already; then nothing is written.
    """
    started = now()
    require_folder_place(out)
    require_own(out, RECORD, ("run.json", *(f"{table}.csv" for table in TABLES)))
    named = load_models(models, device)
    known_pairs = read_pairs(pairs, source) if pairs else []
    mpp = next((model.mpp for model in named if model.mpp), None)
    slides = _sampled(source, config, mpp)
    for slide in slides if models else []:
        require_raw(source, slide.slide_id, slide.stain)
    findings = measure_all(slides, _sampled(target, config, mpp), named, config, known_pairs)
    facts = {
        "inputs": {"source": str(source), "target": str(target), "pairs": str(pairs or "")},
        "models": {model.name: model.facts._asdict() for model in named},
        "config": config.model_dump(mode="json"),
        "fingerprint": findings.record["fingerprint"],
    }
    surroundings = environment()
    surroundings["libraries"] |= versions(MORE_LIBRARIES)
    write_run_record(out / "run.json", started, facts, surroundings)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    whole = StainFindings(**{**_fields(findings), "record": record})
    write_evaluation(out, whole)
    return whole


def measure_all(
    source: Sequence[SlideTiles],
    target: Sequence[SlideTiles],
    models: Sequence[NamedModel],
    config: StainEvaluationConfig,
    pairs: Sequence[Pair] = (),
) -> StainFindings:
    """All that there is to show of models on sampled slides.

    Raises ArtifactError where no slide, or no target, has tiles, and for a target without tissue.
    """
    good = _with_tiles(source, "source")
    target_slides = _with_tiles(target, "target")
    _require_tissue(target_slides, config)
    profile, spread = target_profile(target_slides, config)
    problems = [(slide.slide_id, slide.problem) for slide in (*source, *target) if slide.problem]
    pair_scores = list(score_pairs(pairs, models, config, problems))  # first: they take a moment
    if profile.matrix is None:
        problems.append(("target", "shows no two stains: angles to it are not known"))
    measured: list[SlideMeasured] = []
    with progress("evaluate", len(good)) as shown:
        for slide in good:
            try:
                measured.append(measure_slide(slide, models, profile, config))
            except PathologyError as error:
                reason = error.reason if isinstance(error, SlideError) else str(error)
                problems.append((slide.slide_id, reason))
            shown.step(len(slide.tiles_NHW3))
            shown.item(f"{slide.slide_id}: {len(slide.tiles_NHW3)} tiles, {len(models)} models")
    rows = [row for slide in measured for row in slide.scores]
    problems += [(row.slide_id, f"{row.model}: {row.problem}") for row in rows if row.problem]
    inputs = {
        "source": _digest(good),
        "target": _digest(target_slides),
        **{f"model {model.name}": model.fingerprint for model in models},
    }
    return StainFindings(
        models=[model.facts for model in models],
        slides=rows,
        pairs=pair_scores,
        summary=summarize(rows, pair_scores, config),
        panels=list(panels_of(measured, target_slides, [model.name for model in models])),
        colors={"target": profile.lab, **_pooled(measured, models)},
        target_spread=spread,
        problems=problems,
        record={"fingerprint": fingerprint("stain evaluation", EVALUATION_SCHEMA, config, inputs)},
    )


def write_evaluation(out: Path, findings: StainFindings) -> None:
    """Write summary.csv, slides.csv, pairs.csv, evaluation.json and the page, each whole."""
    tables: dict[str, list[dict[str, Any]]] = {
        "summary": [row.row() for row in findings.summary],
        "slides": [row.row() for row in findings.slides],
        "pairs": [vars(row) for row in findings.pairs],
    }
    names: dict[str, list[str]] = {
        "summary": list(Summary.__annotations__),
        "slides": [*SlideScores.__annotations__, "nuclei_ratio"],
        "pairs": list(PairScore.__annotations__),
    }
    for name in TABLES:
        write_text(out / f"{name}.csv", _csv(names[name], tables[name]))
    said = {
        "note": "research use only",
        "fingerprint": findings.record.get("fingerprint"),
        "models": [model._asdict() for model in findings.models],
        "target_spread": findings.target_spread,
        "problems": [list(problem) for problem in findings.problems],
        **tables,
    }
    write_text(out / RECORD, json.dumps(said, indent=1) + "\n")
    write_text(out / PAGE, render_stain_page(findings))


def summary_lines(findings: StainFindings) -> list[str]:
    """The summary as plain text, a line a model, for the end of the command."""
    measures = findings.measures
    lines = [["model", *(measure.title for measure in measures)]]
    for model in findings.models:
        cells = [findings.cell(model.name, measure.name) for measure in measures]
        texts = [
            measure.pattern.format(cell.mean) if cell else "-"
            for measure, cell in zip(measures, cells, strict=True)
        ]
        lines.append([model.name, *texts])
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return [
        "  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in lines
    ]


def problem_lines(findings: StainFindings) -> list[str]:
    """What could not be measured, and why, for the end of the command."""
    lines = [f"not measured: {name}: {reason}" for name, reason in findings.problems]
    return first_lines(lines, MAX_TOLD)


def panels_of(
    measured: Sequence[SlideMeasured], target: Sequence[SlideTiles], models: Sequence[str]
) -> Iterator[Panel]:
    """A few tiles as they were, by every model, and beside a tile of the target."""
    targets = [picture_of(slide.tiles_NHW3[at]) for slide, at in _best_tiles(target)]
    flags = {slide.slide_id: _flags(slide) for slide in measured}
    spread = _spread(measured)
    doubtful = [slide for slide in spread if flags[slide.slide_id]][: MAX_PANELS // 2]
    order = doubtful + [slide for slide in spread if slide not in doubtful]
    turns = [(n, slide) for n in range(3) for slide in order if n < len(slide.pictures)]
    for number, (n, slide) in enumerate(turns[:MAX_PANELS]):
        pictures = slide.pictures[n]
        shown = [Picture("source", pictures.get(NONE, b""))]
        shown += [Picture(name, pictures.get(name, b"")) for name in models if name != NONE]
        shown.append(Picture("target", targets[number % len(targets)]))
        title = f"{slide.slide_id} ({slide.centre})" if slide.centre else slide.slide_id
        yield Panel(title, flags[slide.slide_id], shown)


def _sampled(
    path: Path, config: StainEvaluationConfig, models_mpp: float | None
) -> list[SlideTiles]:
    """Tiles of an input: of stores and pictures as they are, of slides as the models want them."""
    given = look_at(path)
    mpp = models_mpp if given.kind in ("manifest", "slide") else None
    sampling = Sampling(config.size_px, config.tiles_per_slide, mpp, config.assume_mpp)
    return list(iter_samples(given, sampling))


def _best_tiles(slides: Sequence[SlideTiles]) -> list[tuple[SlideTiles, int]]:
    """Tiles of the target to show: the most stained of each slide, then the next."""
    ranked = [most_stained(slide.tiles_NHW3, MAX_PANELS) for slide in slides]
    turns = [
        (slide, at[n])
        for n in range(MAX_PANELS)
        for slide, at in zip(slides, ranked, strict=True)
        if n < len(at)
    ]
    return turns[:MAX_PANELS]


def _spread(measured: Sequence[SlideMeasured]) -> list[SlideMeasured]:
    """The slides, those of one centre not all in a row."""
    by_centre: dict[str, list[SlideMeasured]] = {}
    for slide in measured:
        by_centre.setdefault(slide.centre, []).append(slide)
    most = max(map(len, by_centre.values()), default=0)
    return [slides[n] for n in range(most) for slides in by_centre.values() if n < len(slides)]


def _flags(slide: SlideMeasured) -> str:
    return ". ".join(f"{row.model}: {row.flags}" for row in slide.scores if row.flags)


def _with_tiles(slides: Sequence[SlideTiles], role: str) -> list[SlideTiles]:
    good = [slide for slide in slides if len(slide.tiles_NHW3)]
    if not good:
        why = "; ".join(f"{slide.slide_id}: {slide.problem}" for slide in slides[:3])
        raise ArtifactError(f"the {role} holds no tiles ({why or 'it is empty'}). Give H&E tissue")
    return good


def _require_tissue(target: Sequence[SlideTiles], config: StainEvaluationConfig) -> None:
    """Raise ArtifactError for glass, black or grey; tissue of one stain has colors to compare."""
    pixels = np.concatenate([slide.tiles_NHW3.reshape(-1, 3) for slide in target])
    problem = estimate_stains(pixels, config.stain).problem
    if problem and problem != ONE_STAIN:
        raise ArtifactError(f"the target shows no stained tissue ({problem}). Give H&E tissue")


def _pooled(
    measured: Sequence[SlideMeasured], models: Sequence[NamedModel]
) -> Mapping[str, Floats]:
    """The colors of all slides together, by model, and of the source."""
    names = ["source", *(model.name for model in models if model.name != NONE)]
    found = {name: [s.colors[name] for s in measured if name in s.colors] for name in names}
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def _digest(slides: Sequence[SlideTiles]) -> str:
    digest = hashlib.sha256()
    for slide in slides:
        digest.update(slide.slide_id.encode())
        digest.update(np.ascontiguousarray(slide.tiles_NHW3).tobytes())
    return digest.hexdigest()[:12]


def _csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _fields(findings: StainFindings) -> dict[str, Any]:
    return {name: getattr(findings, name) for name in StainFindings.__dataclass_fields__}
