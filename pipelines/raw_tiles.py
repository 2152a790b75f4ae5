"""The refusal of tiles that are normalized already, where tiles as they were scanned are needed."""

from __future__ import annotations

from pathlib import Path

from pathology.stain.contract import RAW
from pathology.stain.saved_style import StainError


def require_raw(path: Path, slide_id: str, stain: str) -> None:
    """Raise StainError for a member of an input whose tiles were normalized.

    stain  as pathology.stain.contract.stain_of gives it
    """
    if stain != RAW:
        raise StainError(
            f"{path}: {slide_id} is normalized already, by model {stain}. Give the tiling run, or "
            "slides and pictures as they were taken"
        )
