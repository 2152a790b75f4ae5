"""What a report has beside its slides: sections of words, tables and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it loads torch, which a page on tiles does without
    from pathology.models.card import ModelCard

Facts = Sequence[tuple[str, str]]
FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC, mean of the steps between grades",
    "kappa": "quadratic kappa",
    "ece": "calibration error (ECE)",
    "upper_rate": "graded above their slide",
}
LIMITS = (
    "Research use only. Nothing here is meant for diagnosis or any decision about a patient.",
    "Tile grades were learned from diagnoses of whole slides. Nobody outlined tissue, and a tile "
    "that looks convincing may still be wrong.",
    "Figures hold for slides like these: of the same centres, scanners, stains and organ. "
    "Intervals draw whole cases anew; with few cases they are wide, and may still be too narrow.",
    "Probabilities are calibrated on slides that were set aside. Where tissue, stain or camera are "
    "other than there, they are surer than they should be.",
    "Normalized colors are computed, not seen. They can hide or invent detail.",
)


@dataclass(frozen=True)
class Picture:
    """A picture as the bytes of a PNG or JPEG file, and what it shows."""

    data: bytes
    caption: str

    @property
    def url(self) -> str:
        """As a page carries it."""
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Table:
    """A table: heads of its columns, the first of which names the rows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a report; anchor is its place in links. Remarks are warnings."""

    anchor: str
    title: str
    text: Sequence[str] = ()
    remarks: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    cards: Mapping[str, Facts] = field(default_factory=dict)


def figure_table(found: Mapping[str, Mapping[str, Any]], caption: str) -> Table:
    """Figures with their intervals: a column for all, and one for each centre.

    found  of metrics.json: by centre (or method), num_cases and estimates with value, low, high
    """
    heads = ["", *(f"{name} ({_cases(one['num_cases'])})" for name, one in found.items())]
    steps = [name for name in next(iter(found.values()), {}) if name.startswith("recall_")]
    names = FIGURES | {name: f"recall of {name.removeprefix('recall_')}" for name in steps}
    rows = [
        [said, *(estimate_text(one.get(name)) for one in found.values())]
        for name, said in names.items()
    ]
    return Table(heads, [row for row in rows if any(row[1:])], caption)


def estimate_text(estimate: Mapping[str, Any] | None) -> str:
    """A figure with its interval; nothing where it could not be had.

    >>> estimate_text({"value": 0.8123, "low": 0.7, "high": 0.9}), estimate_text(None)
    ('0.812 [0.700, 0.900]', '')
    """
    if not estimate or estimate.get("value") is None:
        return ""
    if estimate.get("low") is None or estimate.get("high") is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def card_facts(card: ModelCard) -> Facts:
    """A model card for people."""
    tiles = card.tiles
    size = f"{tiles.size_px} px" if tiles.size_px else "any size"
    spacing = f"{tiles.mpp:.4g} µm/px" if tiles.mpp else "resolution not stated"
    said = {
        "Grades": " < ".join(card.grades),
        "Method": card.method,
        "Tiles": f"{size}, {spacing}, stain {tiles.stain}",
        "Encoder": tiles.encoder,
        "Source": card.source,
        "Target": card.target,
        "Slides": _counts(card.num_slides),
        "Tiles seen": _counts(card.num_tiles),
        "Centres": ", ".join(card.centres),
        "Weights kept": card.chosen_by,
        "Training data": card.training_data,
        "Seed": str(card.settings.get("seed", "")),
        "Version": card.version,
        "Intended use": card.intended_use,
    }
    return [(name, value) for name, value in said.items() if value]


def limits_section() -> Section:
    """What figures and pictures of a run do not say."""
    return Section("limits", "Limits", text=LIMITS)


def _cases(number: int) -> str:
    return "1 case" if number == 1 else f"{number} cases"


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{part} {number:,}" for part, number in numbers.items())
