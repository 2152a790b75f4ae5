"""What stain a store's tiles are in, and the refusal to mix stains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pathology.core.errors import PathologyError

RAW = "raw"  # tiles as they were scanned


class StainMismatch(PathologyError):
    """Tiles are normalized otherwise than they must be."""


def stain_of(attributes: Mapping[str, Any]) -> str:
    """Fingerprint of the stain model that a store with these attributes was made with, or "raw"."""
    stain = attributes.get("stain")
    return RAW if stain is None else str(stain["model_fingerprint"])


def require_same_stain(attributes: Mapping[str, Any], wanted: str) -> None:
    """Raise StainMismatch unless a store's tiles are in the stain that is wanted.

    wanted  fingerprint of a stain model, or "raw"
    """
    found = stain_of(attributes)
    if found == wanted:
        return
    remedy = "Give the tiling run" if wanted == RAW else "Normalize the tiling run with that model"
    raise StainMismatch(
        f"tiles are {_said(found)}, where {_said(wanted)} ones are needed. {remedy}"
    )


def _said(stain: str) -> str:
    return RAW if stain == RAW else f"normalized by model {stain}"
