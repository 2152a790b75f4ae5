"""Splits of a manifest's slides into files that CLAM and `pathology train` read."""

from __future__ import annotations

from pathlib import Path

from pathology.core.errors import ManifestError
from pathology.core.manifest import read_manifest
from pathology.data.splits import Split, folds, leave_centres_out, require_apart, write_clam


def write_splits(
    manifest: Path,
    out: Path,
    *,
    num_folds: int | None = None,
    by_centre: bool = False,
    val_share: float = 0.2,
    seed: int = 0,
) -> list[Split]:
    """Write OUT/splits_K.csv, with CLAM's other two, for every fold or every centre left out.

    Only slides with a label are split. Raises ManifestError where that cannot be done.
    """
    slides = [slide for slide in read_manifest(manifest).slides if slide.label]
    if not slides:
        raise ManifestError(f"{manifest}: no slide has a label. Fill its column label")
    if by_centre:
        splits = leave_centres_out(slides, val_share, seed)
    else:
        splits = folds(slides, num_folds or 5, seed)
    for split in splits:
        require_apart(split, slides)
    write_clam(out, splits, {slide.slide_id: slide.label for slide in slides})
    return splits
