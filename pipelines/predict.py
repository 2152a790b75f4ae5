"""Grades of tiles and slides by a trained classifier, as two tables."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathology.adapt.config import AdaptConfig
from pathology.core.artifact import publish, write_text
from pathology.core.errors import ArtifactError, PathologyError, reason_of
from pathology.core.table import csv_text
from pathology.data.tile_source import StoreTiles
from pathology.interop.h5_features import read_features
from pathology.models.card import (
    ModelCard,
    card_fingerprint,
    load_classifier,
    require_match,
)
from pathology.models.encode import prepare
from pathology.models.encoder import Encoder, make_encoder
from pathology.slides.jpeg import DamagedJpeg
from pathology.weak.config import WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pathology.weak.pooling import PooledPeers, PooledTiles
from pathology.weak.predict import score_slide
from pathology.weak.slide_rule import SlideRule, grade_of, grade_slide
from pipelines.features import weights_digest
from pipelines.prediction_tables import PREFIX, slides_table
from pipelines.tile_places import places_of
from pipelines.weak_data import pixel_blocks
from pipelines.weak_inputs import TiledSlide, read_tiled, without_tiles

FAULTS = (PathologyError, OSError, DamagedJpeg, KeyError, ValueError)


@dataclass(frozen=True)
class Classifier:
    """A model that is ready: its card, its network on a device, and the rule for slides."""

    card: ModelCard
    model: BagClassifier
    rule: SlideRule | None
    fingerprint: str
    device: str


@dataclass(frozen=True)
class SlideGrade:
    """A slide's row in the table of slides; problem says why there is no grade.

    entropy  of the grades' probabilities over its greatest value: 0 sure, 1 anything
    l0_offset  corner of the scanned bounds, which QuPath counts from; mpp is that of level 0
    """

    slide_id: str
    num_tiles: int = 0
    grade: str = ""
    probability_C: tuple[float, ...] = ()
    entropy: float = float("nan")
    l0_size: tuple[int, int] = (0, 0)
    l0_offset: tuple[int, int] = (0, 0)
    mpp: float | None = None
    problem: str = ""


def load_for_use(
    path: Path, device: str = "cpu", weights: Path | None = None, *, is_pixels: bool = True
) -> Classifier:
    """A classifier from its file.

    weights    a file of the encoder's, where it is not in the model's
    is_pixels  whether it will be given pixels; without, the encoder is not needed
    Raises ArtifactError for a file that is damaged, ConfigError where the encoder cannot be had.
    """
    card, state = load_classifier(path)
    encoder: Encoder | None = None
    if is_pixels:
        encoder = make_encoder(
            card.tiles.encoder, weights=weights, is_pretrained=not card.has_encoder
        )
    model = BagClassifier(_head_of(card), encoder)
    problem = model.take(state, has_encoder=card.has_encoder and is_pixels)
    if problem:
        raise ArtifactError(f"{path}: its weights are of another architecture ({problem})")
    if encoder is not None:
        model.encoder = prepare(encoder, device)
        if not card.has_encoder and card.tiles.weights:
            found = card.tiles.model_copy(update={"weights": weights_digest(encoder)})
            require_match(card.tiles, found, f"encoder {encoder.name}")
    rule = None if card.slide_rule is None else SlideRule.model_validate(card.slide_rule)
    name = card_fingerprint(card, state)
    return Classifier(card, model.to(device).eval().requires_grad_(False), rule, name, device)


def _head_of(card: ModelCard) -> nn.Module:
    """A new network of a card's kind; slides of an adapted one are the mean of their tiles."""
    num_features = card.tiles.num_features
    if card.task == "adapt":
        config, num_grades = AdaptConfig.model_validate(card.settings), len(card.grades)
        if config.term_weights().is_pair:
            return PooledPeers(num_features, num_grades, config.width, 0.0)
        return PooledTiles(num_features, num_grades, width=config.width, dropout=0, pooling="mean")
    return bag_network(WeakConfig.model_validate(card.settings), num_features)


def predict(
    model_path: Path,
    path: Path,
    out: Path,
    *,
    device: str = "cpu",
    weights: Path | None = None,
    only: Collection[str] | None = None,
    on_slide: Callable[[SlideGrade], None] = lambda grade: None,
) -> list[SlideGrade]:
    """Write OUT, a row for each tile, and OUT's .slides.csv, a row for each slide.

    only  ids of the slides to grade; None: all that the path holds

    Slides are scored one by one and kept, so that a stopped run goes on. Raises ContractError
    where tiles are not what the model was taught on.
    """
    kind, slides, problems = read_tiled(path)
    problems += without_tiles(path, kind)
    classifier = load_for_use(model_path, device, weights, is_pixels=kind == "pixels")
    failed = [line.partition(": ")[::2] for line in problems]
    grades = [SlideGrade(name, problem=said) for name, said in failed if _is_meant(name, only)]
    slides = [slide for slide in slides if _is_meant(slide.record.slide_id, only)]
    parts = out.with_name(f".{out.stem}.{classifier.fingerprint}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for grade in grades:
        on_slide(grade)
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        for slide in slides:
            require_match(classifier.card.tiles, slide.tiles, slide.record.slide_id)
        for slide in slides:
            part = parts / f"{slide.record.slide_id}.{slide.digest}.csv"
            try:
                grades.append(_predict_slide(classifier, slide, part, pool))
                written.append(part)
            except FAULTS as fault:
                grades.append(SlideGrade(slide.record.slide_id, problem=reason_of(fault)))
            on_slide(grades[-1])
    names = classifier.card.grades
    with publish(out) as scratch, scratch.open("w", encoding="utf-8") as stream:
        stream.write(csv_text([["slide_id", "l0_x", "l0_y", "l0_edge", *_columns(names)]]))
        for part in written:
            with part.open(encoding="utf-8") as rows:
                shutil.copyfileobj(rows, stream)
    write_text(slides_table(out), _slides_csv(grades, names))
    shutil.rmtree(parts, ignore_errors=True)
    return grades


def _is_meant(slide_id: str, only: Collection[str] | None) -> bool:
    return only is None or slide_id in only


def _predict_slide(
    classifier: Classifier, slide: TiledSlide, part: Path, pool: ThreadPoolExecutor
) -> SlideGrade:
    """The grade of a slide, whose tiles' rows are kept in a part of the table."""
    at = places_of(slide)
    tile_NC = _kept(part, slide.num_tiles, len(classifier.card.grades))
    if tile_NC is None:
        tile_NC = score_slide(classifier.model, _blocks(classifier, slide, pool)).tile_NC
        write_text(part, _tiles_csv(slide.record.slide_id, at.l0_xy, at.l0_edge, tile_NC))
    probability = _slide_probability(classifier.rule, tile_NC)
    entropy = float(-(probability * np.log(np.maximum(probability, 1e-12))).sum())
    return SlideGrade(
        slide.record.slide_id,
        slide.num_tiles,
        classifier.card.grades[grade_of(probability)],
        tuple(probability.tolist()),
        entropy / float(np.log(len(probability))),
        at.l0_size,
        at.l0_offset,
        at.mpp,
    )


def _blocks(
    classifier: Classifier, slide: TiledSlide, pool: ThreadPoolExecutor
) -> Iterator[Tensor]:
    """A slide's features, or its pixels block by block."""
    if classifier.model.encoder is None:
        yield torch.from_numpy(read_features(slide.path).features_NF).to(classifier.device)
        return
    source, rows = StoreTiles([slide.path], np.array([slide.num_tiles])), np.arange(slide.num_tiles)
    yield from pixel_blocks(source, rows, pool, classifier.device, classifier.card.tiles.encoder_px)


def _slide_probability(rule: SlideRule | None, tile_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    return tile_NC.mean(axis=0) if rule is None else grade_slide(rule, tile_NC)


def _columns(grades: Sequence[str]) -> list[str]:
    return [PREFIX + grade for grade in grades]


def _tiles_csv(
    slide_id: str, l0_xy: NDArray[np.int64], l0_edge: int, tile_NC: NDArray[np.float64]
) -> str:
    """Rows of a slide's tiles; an id with a comma or a quote is quoted."""
    return csv_text(
        [slide_id, x, y, l0_edge, *(f"{value:.6f}" for value in row)]
        for (x, y), row in zip(l0_xy.tolist(), tile_NC.tolist(), strict=True)
    )


def _kept(part: Path, num_tiles: int, num_grades: int) -> NDArray[np.float64] | None:
    """Probabilities that an earlier run left for a slide, if they are all there."""
    if not part.is_file():
        return None
    with part.open(encoding="utf-8", newline="") as stream:
        rows = [row[4:] for row in csv.reader(stream)]
    if len(rows) != num_tiles or any(len(row) != num_grades for row in rows):
        return None
    return np.array(rows, np.float64)


def _slides_csv(grades: Sequence[SlideGrade], names: Sequence[str]) -> str:
    rows: list[list[object]] = [
        ["slide_id", "grade", *_columns(names), "entropy", "num_tiles", "l0_width", "l0_height",
         "l0_offset_x", "l0_offset_y", "mpp", "problem"]
    ]  # fmt: skip
    for grade in grades:
        chances = [f"{value:.6f}" for value in grade.probability_C] or [""] * len(names)
        entropy = "" if np.isnan(grade.entropy) else f"{grade.entropy:.4f}"
        rows.append(
            [grade.slide_id, grade.grade, *chances, entropy, grade.num_tiles, *grade.l0_size,
             *grade.l0_offset, "" if grade.mpp is None else f"{grade.mpp:.6g}", grade.problem]
        )  # fmt: skip
    return csv_text(rows)
