"""Pairs of pictures of the same tissue: what a normalized picture ought to look like is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pathology.core.table import read_csv
from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.evaluation.stain_summary import PairScore
from pathology.stain.contract import RAW
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import SlideNormalizer
from pathology.stain.similarity import PairError, Shift, paired_scores
from pipelines.flat_pictures import SUFFIXES, read_picture
from pipelines.raw_tiles import require_raw
from pipelines.stain_models import NamedModel

SLIDE_COLUMNS = ("slide_id", "slide", "case_id")


@dataclass(frozen=True)
class Pair:
    """Two picture files of the same place; shift as pathology.stain.similarity has it."""

    slide_id: str
    name: str
    source: Path
    reference: Path
    shift: Shift = (0, 0)


def read_pairs(pairs: Path, source: Path) -> list[Pair]:
    """The pairs of a CSV file, or of two folders of equal file names.

    pairs   a CSV with the columns source and reference, or just two columns of file names (the
            first is the source), relative to the CSV; optional: slide, pair, shift_x, shift_y.
            Or a folder of references: then source is the folder of the pictures to normalize,
            and each of its folders counts as a slide
    Raises PairError where there are none.
    """
    found = list(_of_folders(pairs, source) if pairs.is_dir() else _of_table(pairs))
    if not found:
        raise PairError(
            f"{pairs}: no pairs. Give a CSV of two columns of picture files, or a folder with "
            f"pictures of the same names as in {source}"
        )
    return found


def score_pairs(
    pairs: Sequence[Pair],
    models: Sequence[NamedModel],
    config: StainEvaluationConfig,
    problems: list[tuple[str, str]],
) -> Iterator[PairScore]:
    """How near each model, fitted to a slide's sources, brings them to their references.

    problems  gets a line for each slide with a model that is not for pictures of its resolution
    Raises SlideError for a picture that cannot be read, PairError for two that do not fit,
    StainError for a source that models would normalize a second time.
    """
    for path in (path for pair in pairs for path in (pair.source, pair.reference)):
        if not path.is_file():
            raise PairError(f"{path}: no such file. Names of pairs are relative to their table")
    has_models = any(model.model is not None for model in models)
    for slide_id in dict.fromkeys(pair.slide_id for pair in pairs):
        mine = [pair for pair in pairs if pair.slide_id == slide_id]
        pictures = [read_picture(pair.name, pair.source) for pair in mine]
        for pair, picture in zip(mine, pictures, strict=True) if has_models else ():
            require_raw(pair.source, pair.name, picture.normalized_by or RAW)
        sources = [picture.pixels for picture in pictures]
        references = [read_picture(pair.name, pair.reference).pixels for pair in mine]
        shifts = [pair.shift for pair in mine]
        mpps = {picture.mpp or config.assume_mpp for picture in pictures}
        for model in models:
            misfit = next(filter(None, map(model.misfit, mpps)), "")
            if misfit:
                problems.append((slide_id, f"pairs, {model.name}: {misfit}"))
                continue
            normalizer = model.for_slide(_sample(sources), config.stain)
            outputs = [_render(normalizer, picture) for picture in sources]
            scores = paired_scores(outputs, references, shifts)
            for pair, ssim, psnr in zip(mine, *scores, strict=True):
                yield PairScore(
                    model.name, slide_id, pair.name, round(float(ssim), 5), round(float(psnr), 4)
                )


def _of_folders(references: Path, source: Path) -> Iterator[Pair]:
    for path in sorted(p for p in references.rglob("*") if p.suffix.lower() in SUFFIXES):
        inside = path.relative_to(references)
        if (source / inside).is_file():
            folder = inside.parent.as_posix()
            slide_id = source.name if folder == "." else folder
            yield Pair(slide_id, inside.as_posix(), source / inside, path)


def _of_table(path: Path) -> Iterator[Pair]:
    names, rows = read_csv(path)
    columns = _file_columns(path, names, rows)
    slide = next((name for name in SLIDE_COLUMNS if name in names), None)
    for number, row in enumerate(rows, 2):
        try:
            shift = (int(row.get("shift_x") or 0), int(row.get("shift_y") or 0))
        except ValueError as error:
            raise PairError(f"{path}: line {number}: shifts must be whole pixels") from error
        source, reference = (path.parent / row[name] for name in columns)
        name = row.get("pair") or source.stem
        yield Pair(row[slide] if slide else path.parent.name, name, source, reference, shift)


def _file_columns(path: Path, names: Sequence[str], rows: Sequence[dict[str, str]]) -> list[str]:
    """The two columns that name files: source and reference."""
    if {"source", "reference"} <= set(names):
        return ["source", "reference"]
    files = [
        name for name in names if rows and all(row[name].lower().endswith(SUFFIXES) for row in rows)
    ]
    if len(files) != 2:
        raise PairError(
            f"{path}: expected two columns of picture files, found {', '.join(files) or 'none'}. "
            "Name them source and reference"
        )
    return files


def _sample(pictures: Sequence[Pixels]) -> Pixels:
    """The pictures as tiles of one size, the smallest that there is."""
    height, width = (min(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    return np.stack([picture[:height, :width] for picture in pictures])


def _render(normalizer: SlideNormalizer, picture: Pixels) -> Pixels:
    rendered: Pixels = normalizer.render(picture[np.newaxis]).tiles[0]
    return rendered
