"""What stain tiles are in, model and settings alike, and the refusal to mix stains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pathology.core.artifact import fingerprint
from pathology.core.config import StageConfig
from pathology.core.errors import PathologyError
from pathology.stain.config import StainConfig

RAW = "raw"  # tiles as they were scanned
SCHEMA = 1
# of the settings, what makes no other stain: the ways to render one and the same style (a table
# stands for the teacher: what learned on its tiles may be used on the teacher's), the method, which
# the model says itself, and how much is looked at before anything is rendered
SAME_STAIN = frozenset({
    "method", "quality", "num_sample_tiles", "num_sample_pixels", "min_stained_pixels",
    "min_stained_fraction",
})  # fmt: skip


class StainMismatch(PathologyError):
    """Tiles are normalized otherwise than they must be."""


def stain_fingerprint(model: str, settings: StainConfig | Mapping[str, Any]) -> str:
    """Name of the stain that a model gives by some settings: the model's own, where they are usual.

    model     its fingerprint
    settings  all of StainConfig's, or those that were written down
    Of settings those of SAME_STAIN do not count, and so do none that have their default.
    """
    said = settings.model_dump(mode="json") if isinstance(settings, StainConfig) else settings
    usual = StainConfig().model_dump(mode="json")
    changed = {
        name: repr(value)
        for name, value in said.items()
        if name not in SAME_STAIN and value != usual.get(name)
    }
    if not changed:
        return model
    return fingerprint("stain of tiles", SCHEMA, StageConfig(), {"model": model, **changed})


def stain_of(attributes: Mapping[str, Any]) -> str:
    """Name of the stain that a store with these attributes is in, or "raw".

    Of a store that does not say it, it is made of the model and the settings that it says.
    """
    stain = attributes.get("stain")
    if stain is None:
        return RAW
    said = stain.get("fingerprint")
    return str(said or stain_fingerprint(str(stain["model_fingerprint"]), stain.get("config", {})))


def require_same_stain(attributes: Mapping[str, Any], wanted: str) -> None:
    """Raise StainMismatch unless a store's tiles are in the stain that is wanted.

    wanted  fingerprint of a stain, see stain_fingerprint, or "raw"
    """
    found = stain_of(attributes)
    if found == wanted:
        return
    remedy = (
        "Give the tiling run"
        if wanted == RAW
        else "Normalize the tiling run with that model, by the same settings"
    )
    raise StainMismatch(
        f"tiles are {_said(found)}, where {_said(wanted)} ones are needed. {remedy}"
    )


def _said(stain: str) -> str:
    return RAW if stain == RAW else f"normalized by model {stain}"
