"""Weights that travel with their contract: a classifier's card, and the refusal of other tiles."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from pathology.core.artifact import fingerprint
from pathology.core.config import StageConfig
from pathology.core.errors import ArtifactError, PathologyError
from pathology.core.manifest import SlideRecord
from pathology.core.slide_digest import digests_of
from pathology.core.state import load_state, save_state

KIND, SCHEMA = "pathology tile classifier", 1
MPP_TOLERANCE = 0.02
INTENDED_USE = (
    "Research use only. Grades H&E tiles of the named size, resolution and stain. "
    "Not for diagnosis."
)


class ContractError(PathologyError):
    """Tiles or features that are not what a model was taught on."""


class TileContract(StageConfig):
    """What tiles must be.

    size_px      edge in pixels
    mpp          microns per pixel; None: not known
    stain        fingerprint of the stain model they were normalized by, or "raw"
    encoder      name of the encoder of their features
    weights      digest of its weights; "": not known
    encoder_px   edge that tiles are scaled to before it; None: as they are
    num_features what it gives for each tile
    blocks_left  its last blocks, which the features do not know of: they are maps for these to take
    map_shape    of one tile's maps; empty where no blocks are left
    """

    size_px: int | None = None
    mpp: float | None = None
    stain: str = "raw"
    encoder: str = ""
    weights: str = ""
    encoder_px: int | None = None
    num_features: int = 0
    blocks_left: int = 0
    map_shape: tuple[int, ...] = ()

    @property
    def row_length(self) -> int:
        """Numbers that are kept of a tile."""
        return math.prod(self.map_shape) if self.blocks_left else self.num_features


def differences(wanted: TileContract, found: TileContract) -> list[str]:
    """What is not as wanted, in words; what either does not know is not held against the other."""
    wrong = []
    if wanted.size_px and found.size_px and wanted.size_px != found.size_px:
        wrong.append(f"tiles have {found.size_px} px, expected {wanted.size_px}")
    if wanted.mpp and found.mpp and abs(found.mpp / wanted.mpp - 1) > MPP_TOLERANCE:
        wrong.append(f"tiles have {found.mpp:.4g} um/px, expected {wanted.mpp:.4g}")
    if wanted.stain != found.stain:
        wrong.append(f"stain is {found.stain!r}, expected {wanted.stain!r}")
    for name, said in (
        ("encoder", "encoder is"), ("weights", "the encoder's weights are"),
        ("num_features", "number of features is"),
    ):  # fmt: skip
        one, other = getattr(wanted, name), getattr(found, name)
        if one and other and one != other:
            wrong.append(f"{said} {other!r}, expected {one!r}")
    if wanted.encoder and found.encoder and wanted.blocks_left != found.blocks_left:
        wrong.append(
            f"the encoder's last {found.blocks_left} blocks are left out, expected "
            f"{wanted.blocks_left}"
        )
    if wanted.encoder and found.encoder and wanted.encoder_px != found.encoder_px:
        wrong.append(f"tiles reach the encoder at {found.encoder_px} px, not {wanted.encoder_px}")
    return wrong


def require_match(wanted: TileContract, found: TileContract, whose: str) -> None:
    """Raise ContractError unless tiles are what a model was taught on."""
    wrong = differences(wanted, found)
    if wrong:
        raise ContractError(
            f"{whose}: {'; '.join(wrong)}. Tile, normalize and encode as the model was taught"
        )


class ModelCard(StageConfig):
    """What a classifier's weights mean, saved in the same file.

    grades        benign first, most malignant last
    tiles         what it must be given
    method        how it was trained, and settings in full
    slide_rule    from tiles to slides, as plain values; None: by the mean of the tiles
    num_slides, num_tiles  that it was trained on, by part
    training_data fingerprint of them and of their labels
    taught        digests of the slides and cases that taught or chose; empty: not known
    metrics       on the slides that were set aside for choosing
    chosen_by     by what rule these weights were kept, of all that training came by
    warnings      lines that training ended with, which whoever uses the model should read
    has_encoder   whether the encoder's weights are in the file
    task          weak: taught by slides; adapt: carried to the tiles of another domain
    source, target  names of the domains, where there are two
    """

    grades: tuple[str, ...]
    tiles: TileContract
    method: str
    settings: dict[str, Any]
    slide_rule: dict[str, Any] | None = None
    num_slides: dict[str, int] = Field(default_factory=dict)
    num_tiles: dict[str, int] = Field(default_factory=dict)
    centres: tuple[str, ...] = ()
    training_data: str = ""
    taught: tuple[str, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    chosen_by: str = ""
    warnings: tuple[str, ...] = ()
    has_encoder: bool = False
    task: Literal["weak", "adapt"] = "weak"
    source: str = ""
    target: str = ""
    version: str = ""
    intended_use: str = INTENDED_USE


def card_fingerprint(card: ModelCard, weights: dict[str, torch.Tensor]) -> str:
    """Name of a model: twelve hex digits of its card and weights."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return fingerprint(KIND, SCHEMA, card, {"weights": digest.hexdigest()[:12]})


def taught_by(slides: Iterable[SlideRecord], start: ModelCard | None = None) -> tuple[str, ...]:
    """What a card says of the slides that taught or chose: see ModelCard.taught.

    start  of a model that training started from: what taught it teaches here, too; of one that does
           not say, nothing is known
    """
    before = () if start is None else start.taught
    if start is not None and not before:
        return ()
    mine = (digests_of(slide.slide_id, slide.case_id) for slide in slides)
    return tuple(sorted({*before}.union(*mine)))


def save_classifier(path: Path, card: ModelCard, weights: dict[str, torch.Tensor]) -> None:
    """Write card and weights to one file, whole or not at all."""
    state = {"kind": KIND, "schema": SCHEMA, "card": card.model_dump_json(), "weights": weights}
    save_state(path, state)


def load_classifier(path: Path) -> tuple[ModelCard, dict[str, torch.Tensor]]:
    """Card and weights of a file. Raises ArtifactError where it is damaged or none of ours."""
    state = load_state(path)
    if state.get("kind") != KIND or state.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{path}: holds no tile classifier of this version. Give a file that "
            "'pathology train' made"
        )
    try:
        return ModelCard.model_validate_json(state["card"]), dict(state["weights"])
    except (KeyError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path}: its card cannot be read ({said})") from error
