"""Which slides train, which choose and which test: by case, stratified by grade and centre."""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import write_text
from pathology.core.errors import ManifestError
from pathology.core.manifest import PARTS, SlideRecord
from pathology.core.table import csv_text, delimiter_of

SHARE_TOLERANCE = 0.02  # of the share of cases that are set aside
MOST_PARTS = 10
FLOAT_ID = re.compile(r"\d+\.0")


@dataclass(frozen=True)
class Split:
    """Ids of the slides of each part; name says where it comes from, e.g. fold 0."""

    name: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] = ()


def require_apart(split: Split, slides: Sequence[SlideRecord]) -> None:
    """Raise ManifestError where a slide or a case is in two parts of a split."""
    case_of = {slide.slide_id: slide.case_id or slide.slide_id for slide in slides}
    seen: dict[str, str] = {}
    for part in PARTS:
        for slide_id in getattr(split, part):
            case = case_of.get(slide_id, slide_id)
            before = seen.setdefault(case, part)
            if before != part:
                raise ManifestError(
                    f"split {split.name}: case {case!r} is in {before} and in {part} "
                    f"(slide {slide_id!r}). Put all slides of a case into one part"
                )


def split_of_manifest(slides: Sequence[SlideRecord], val_share: float, seed: int) -> Split:
    """The split that a manifest's column says; val is drawn by case where it names none.

    Where it names no train, all slides but those of val and test are; where it does, slides that it
    leaves empty are in no part: see in_no_part.

    val_share  of the training slides that are set aside for choosing where none are marked val
    Raises ManifestError where no slide is left to train on, and for other names of parts alone.
    """
    named = {part: [s for s in slides if s.split == part] for part in PARTS}
    train = named["train"] or [s for s in slides if s.split not in ("val", "test")]
    other = sorted({slide.split for slide in train} - {"", "train"})
    if other:
        raise ManifestError(
            f"the column split says {', '.join(other[:3])} and never train. Call its parts train, "
            "val and test, or leave it empty"
        )
    if not train:
        raise ManifestError("no slide is left to train on: all are marked val or test")
    val = named["val"]
    if not val:
        train, val = _set_aside(train, val_share, seed)
    return _named("manifest", train, val, named["test"])


def in_no_part(split: Split, slides: Sequence[SlideRecord]) -> list[str]:
    """Ids of slides that neither train nor choose nor test."""
    there = {*split.train, *split.val, *split.test}
    return [slide.slide_id for slide in slides if slide.slide_id not in there]


def ids_that_never_train(slides: Sequence[SlideRecord]) -> set[str]:
    """Slides that split_of_manifest gives to choosing or testing, whatever is drawn."""
    return {slide.slide_id for slide in slides if slide.split in ("val", "test")}


def folds(slides: Sequence[SlideRecord], num_folds: int, seed: int) -> list[Split]:
    """K splits that each test on another K-th of the cases and choose on the next one.

    Raises ManifestError for less than three folds, and where there are fewer cases than folds.
    """
    if num_folds < 3:
        raise ManifestError(f"{num_folds} folds: one tests, one chooses, and one must train")
    number = _fold_numbers(slides, num_folds, seed)

    def of(*wanted: int) -> list[SlideRecord]:
        return [slide for slide, n in zip(slides, number, strict=True) if n in wanted]

    found = []
    for fold in range(num_folds):
        val = (fold + 1) % num_folds
        rest = [n for n in range(num_folds) if n not in (fold, val)]
        found.append(_named(f"fold {fold}", of(*rest), of(val), of(fold)))
    return found


def leave_centres_out(slides: Sequence[SlideRecord], val_share: float, seed: int) -> list[Split]:
    """A split for each centre: it tests, the others train.

    Raises ManifestError for one centre alone, and for a case that is in two.
    """
    centres = sorted({slide.centre for slide in slides if slide.centre})
    if len(centres) < 2:
        raise ManifestError(
            f"leaving a centre out needs two of them, the manifest names {len(centres)}. "
            "Fill its column centre"
        )
    _require_one_centre(slides)
    found = []
    for centre in centres:
        rest = [slide for slide in slides if slide.centre != centre]
        train, val = _set_aside(rest, val_share, seed)
        out = [slide for slide in slides if slide.centre == centre]
        found.append(_named(f"centre {centre}", train, val, out))
    return found


def some_cases(
    case_S: Sequence[str], label_S: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.bool_]:
    """Which slides are of a random share of the cases of each class, one at least; (S,).

    label_S  class of each slide; those of none, -1, are left out
    A larger share by the same seed holds the smaller one.
    """
    chosen: set[str] = set()
    for label in sorted({int(label) for label in label_S if label >= 0}):
        cases = sorted(
            {case for case, other in zip(case_S, label_S, strict=True) if other == label}
        )
        order = np.random.default_rng([seed, label]).permutation(len(cases))
        chosen |= {cases[i] for i in order[: max(1, round(share * len(cases)))].tolist()}
    return np.array([case in chosen for case in case_S], np.bool_) & (np.asarray(label_S) >= 0)


def read_clam(path: Path) -> Split:
    """The split of CLAM's splits_K.csv: columns train, val and test that hold slide ids.

    Numbers that pandas wrote as 201.0, in columns that are shorter than others, are read as 201.
    Raises ManifestError for another table, and for a slide that stands twice in a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter_of(text)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: cannot be read as a table of splits ({error})") from error
    if not rows or not {"train", "val"} <= set(rows[0]):
        raise ManifestError(f"{path}: expected columns train, val and test with ids of slides")
    columns = {part: [(row.get(part) or "").strip() for row in rows] for part in PARTS}
    parts = {part: list(filter(None, cells)) for part, cells in columns.items()}
    said = {cell for ids in parts.values() for cell in ids}
    if said and said <= {"True", "False"}:
        raise ManifestError(
            f"{path}: marks of slides, not their ids. Give the file without _bool in its name"
        )
    for part, ids in _without_fractions(parts, len(rows)).items():
        name, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
        if count > 1:
            raise ManifestError(
                f"{path}: slide {name!r} stands {count} times in its column {part}. Leave one"
            )
        parts[part] = ids
    return Split(path.stem, *map(tuple, parts.values()))


def _without_fractions(parts: Mapping[str, list[str]], num_rows: int) -> dict[str, list[str]]:
    """Ids of each part, 201.0 as 201 where pandas made the fraction: it does to fill a column up.

    A full column has none of its making: where its ids end in .0, they are called so.
    """
    is_float = {
        part: bool(ids) and all(map(FLOAT_ID.fullmatch, ids)) for part, ids in parts.items()
    }
    if any(is_float[part] for part, ids in parts.items() if len(ids) == num_rows):
        return dict(parts)
    return {
        part: [name.removesuffix(".0") for name in ids] if is_float[part] else ids
        for part, ids in parts.items()
    }


def write_clam(folder: Path, splits: Sequence[Split], label_of: Mapping[str, str]) -> list[Path]:
    """Write splits_K.csv, splits_K_bool.csv and splits_K_descriptor.csv, as CLAM does."""
    written = []
    for number, split in enumerate(splits):
        parts = {part: getattr(split, part) for part in PARTS}
        longest = max(map(len, parts.values()))
        table = [["", *PARTS]] + [
            [str(i), *(ids[i] if i < len(ids) else "" for ids in parts.values())]
            for i in range(longest)
        ]
        every = [slide_id for ids in parts.values() for slide_id in ids]
        members = [set(ids) for ids in parts.values()]
        marks = [["", *PARTS]] + [
            [slide_id, *(str(slide_id in ids) for ids in members)] for slide_id in every
        ]
        counts = {part: Counter(label_of.get(i, "") for i in ids) for part, ids in parts.items()}
        labels = sorted({label for count in counts.values() for label in count})
        described = [["", *PARTS]] + [
            [label, *(str(counts[part][label]) for part in PARTS)] for label in labels
        ]
        for suffix, rows in (("", table), ("_bool", marks), ("_descriptor", described)):
            written.append(folder / f"splits_{number}{suffix}.csv")
            write_text(written[-1], csv_text(rows))
    return written


def _named(name: str, *parts: Sequence[SlideRecord]) -> Split:
    return Split(name, *(tuple(slide.slide_id for slide in part) for part in parts))


def _require_one_centre(slides: Sequence[SlideRecord]) -> None:
    """Raise ManifestError where slides of a case are in two centres: it would test and train."""
    first: dict[str, SlideRecord] = {}
    for slide in slides:
        case = slide.case_id or slide.slide_id
        before = first.setdefault(case, slide)
        if before.centre != slide.centre:
            here, there = slide.centre or "no centre", before.centre or "no centre"
            raise ManifestError(
                f"case {case!r} is in two centres: {there} (slide {before.slide_id!r}) and {here} "
                f"(slide {slide.slide_id!r}), so that it can be left out of neither. Write one "
                "centre for all of its slides, or leave those of one out of the manifest"
            )


def _set_aside(
    slides: Sequence[SlideRecord], share: float, seed: int
) -> tuple[list[SlideRecord], list[SlideRecord]]:
    """The slides without about that share of the cases, and that share."""
    num_folds, num = _parts_of(share)
    number = _fold_numbers(slides, num_folds, seed)
    pairs = list(zip(slides, number.tolist(), strict=True))
    return [s for s, n in pairs if n >= num], [s for s, n in pairs if n < num]


def _parts_of(share: float) -> tuple[int, int]:
    """Into how many parts cases are put, and how many of these make the share: as few as will do.

    >>> [_parts_of(share) for share in (0.2, 0.25, 0.3, 0.4, 0.8)]
    [(5, 1), (4, 1), (7, 2), (5, 2), (5, 4)]
    """
    options = [
        (abs(num / parts - share) > SHARE_TOLERANCE, abs(num / parts - share), parts, num)
        for parts in range(2, MOST_PARTS + 1)
        for num in [min(parts - 1, max(1, round(share * parts)))]
    ]
    good = [one for one in options if not one[0]]
    _, _, parts, num = good[0] if good else min(options)
    return parts, num


def _fold_numbers(slides: Sequence[SlideRecord], num_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each slide: whole cases, grades and centres spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    cases = [slide.case_id or slide.slide_id for slide in slides]
    if len(set(cases)) < num_folds:
        raise ManifestError(
            f"{len(set(cases))} cases cannot make {num_folds} parts. Give more cases, or say in "
            "the manifest's column split which slides train, val and test"
        )
    options = (
        [f"{s.label} {s.centre}" for s in slides],
        [s.label for s in slides],
        [""] * len(slides),
    )
    strata = next(o for o in options if max(Counter(o).values()) >= num_folds)  # the finest one
    number = np.zeros(len(slides), np.int64)
    kind = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, rows) in enumerate(kind.split(cases, strata, cases)):
            number[rows] = fold
    return number
