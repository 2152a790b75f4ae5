"""A trained classifier made ready for a stream."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from pathology.core.errors import ArtifactError
from pathology.inference.field_grader import FieldGrader
from pathology.inference.live_stain import LiveStain
from pathology.inference.taught_limits import TaughtLimits, limits_path
from pathology.inference.tile_network import TileNetwork
from pathology.models.card import ContractError, ModelCard
from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.stain.contract import RAW
from pathology.stain.load import load_model
from pathology.weak.slide_rule import decide
from pipelines.classifier import Classifier, load_for_use

NO_LIMITS = "not checked: run 'pathology live limits' once for this model"


class LiveModel(NamedTuple):
    """A grader, the card of its model, and what its checks rest on, for the reader."""

    grader: FieldGrader
    card: ModelCard
    checks: dict[str, str]


def load_live(
    path: Path,
    *,
    weights: Path | None = None,
    stain: Path | None = None,
    threads: int = 2,
    budget_ms: float = 50.0,
) -> LiveModel:
    """The grader of a model's file, with the limits that lie beside it.

    weights  a file of the encoder's, where it is not in the model's
    stain    the model that its tiles were normalized by, if they were
    threads  of the network
    Raises ContractError where stain or resolution are not what the model was taught on.
    """
    classifier = load_for_use(path, "cpu", weights)
    card = classifier.card
    tile_px, tile_mpp = require_tiles(path, card)
    network = TileNetwork(
        encoder_of(classifier), classifier.model.bag, card.method, size_px=tile_px,
        edge_px=card.tiles.encoder_px, threads=threads,
    )  # fmt: skip
    live_stain = live_stain_of(path, card, stain)
    limits, unlike = _limits_of(path, classifier)
    focus = "by the model's own tiles" if limits else "by the usual limit of tiling"
    grader = FieldGrader(
        network, tile_px, tile_mpp, partial(decide, classifier.rule),
        limits=limits, stain=live_stain, budget_ms=budget_ms,
    )  # fmt: skip
    named = f"normalized by {live_stain.model.method}" if live_stain else "as it comes"
    return LiveModel(grader, card, {"focus": focus, "unlike": unlike, "stain": named})


def require_tiles(path: Path, card: ModelCard) -> tuple[int, float]:
    """Edge and microns per pixel of a model's tiles. Raises ContractError where it has none."""
    if card.tiles.size_px is None or card.tiles.mpp is None:
        raise ContractError(
            f"{path} does not say at which resolution it was taught, and a camera can't be scaled "
            "to it. Train it with --mpp, or on slides and pictures that state theirs"
        )
    return card.tiles.size_px, card.tiles.mpp


def live_stain_of(path: Path, card: ModelCard, stain: Path | None) -> LiveStain | None:
    """Normalization as the model was taught with. Raises ContractError where it is another."""
    if stain is None:
        if card.tiles.stain != RAW:
            raise ContractError(
                f"{path} was taught on tiles normalized by {card.tiles.stain}. Give that stain "
                "model with --stain"
            )
        return None
    model = load_model(stain)
    if model.fingerprint != card.tiles.stain:
        raise ContractError(
            f"{stain}: its stain is {model.fingerprint} (by the usual settings, as here), but "
            f"{path} was taught on {card.tiles.stain!r} tiles. Give what its tiles were normalized "
            "by, or nothing"
        )
    return LiveStain(model)


def encoder_of(classifier: Classifier) -> Encoder:
    """The encoder of a classifier as torch has it."""
    encoder = classifier.model.encoder
    if isinstance(encoder, OnnxEncoder):
        return encoder.encoder
    if not isinstance(encoder, Encoder):
        raise TypeError("the classifier was loaded without its encoder")
    return encoder


def _limits_of(path: Path, classifier: Classifier) -> tuple[TaughtLimits | None, str]:
    beside = limits_path(path)
    if not beside.is_file():
        return None, NO_LIMITS
    limits = TaughtLimits.load(beside)
    if limits.model != classifier.fingerprint:
        raise ArtifactError(
            f"{beside}: belongs to another model ({limits.model}). Make it again with 'pathology "
            "live limits', or remove it"
        )
    return limits, f"by {limits.num_tiles} tiles of {limits.num_pictures} pictures"
