"""Splits of a manifest's slides into files that CLAM and `pathology train` read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pathology.core.errors import ManifestError
from pathology.core.manifest import SlideRecord, read_manifest
from pathology.data.splits import Split, folds, leave_centres_out, require_apart, write_clam


def write_splits(
    manifest: Path,
    out: Path,
    *,
    num_folds: int | None = None,
    by_centre: bool = False,
    val_share: float = 0.2,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> list[Split]:
    """Write OUT/splits_K.csv, with CLAM's other two, for every fold or every centre left out.

    Only slides with a label are split. Files of an earlier draw into more parts are removed.
    Raises ManifestError where that cannot be done.

    say  told which slides are in no split, or in all of them
    """
    slides = _labelled(manifest, say)
    if by_centre and num_folds is not None:
        raise ManifestError("folds or leave-centres-out: one of them at a time")
    if by_centre:
        num = sum(not slide.centre for slide in slides)
        if num:
            say(f"{num} slides have no centre: they train, or choose, in every split")
        splits = leave_centres_out(slides, val_share, seed)
    else:
        splits = folds(slides, num_folds or 5, seed)
    for split in splits:
        require_apart(split, slides)
    num_removed = _remove_beyond(out, len(splits))
    if num_removed:
        say(f"{num_removed} files of more splits are removed, which an earlier draw left in {out}")
    write_clam(out, splits, {slide.slide_id: slide.label for slide in slides})
    return splits


def _labelled(manifest: Path, say: Callable[[str], None]) -> list[SlideRecord]:
    found = read_manifest(manifest, needs_slides=False)
    for fault in found.rejected:
        say(f"left out: {fault}")
    slides = [slide for slide in found.slides if slide.label]
    if not slides:
        raise ManifestError(f"{manifest}: no slide has a label. Fill its column label")
    if len(slides) < len(found.slides):
        say(f"left out: {len(found.slides) - len(slides)} slides without a label")
    num_test = sum(slide.split == "test" for slide in slides)
    if num_test:
        say(
            f"{num_test} slides that {manifest} marks test are split like the others, and will "
            "train, too: leave their rows out to keep them for a last judgement"
        )
    return slides


def _remove_beyond(folder: Path, num_splits: int) -> int:
    """Remove files of an earlier draw into more parts, which a loop over all would mix in."""
    num = 0
    for old in folder.glob("splits_*.csv"):
        number = old.stem.split("_")[1]
        if number.isdecimal() and int(number) >= num_splits:
            old.unlink()
            num += 1
    return num
