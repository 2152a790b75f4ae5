"""A tile classifier for programs that know nothing of this one: ONNX, and WSInfer's folder.

B tiles in a batch, C grades.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pathology.core.artifact import publish
from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.output_place import require_only
from pathology.inference.tile_network import (
    NEIGHBORS_MATTER,
    OUTPUTS,
    TOLERANCE,
    EncoderAndHead,
    encoder_and_head,
)
from pathology.models.card import ModelCard
from pathology.models.encoder import Encoder
from pathology.models.onnx_session import write_onnx

NOTE = "Research use only. Not for diagnosis."
WSINFER_FILES = ("torchscript_model.pt", "config.json", "README.md")


class LogProbabilities(nn.Module):
    """RGB tiles (B, 3, H, W) from 0 to 1 to log probabilities (B, C), whose softmax they are."""

    def __init__(self, whole: EncoderAndHead) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, tiles_B3HW: Tensor) -> Tensor:
        """Log probabilities, which programs that take logits turn into the same probabilities."""
        probability_BC: Tensor = self.whole(tiles_B3HW)[1]
        return probability_BC.clamp_min(1e-12).log()


def exportable(encoder: Encoder, bag: nn.Module, card: ModelCard) -> EncoderAndHead:
    """The network that is written. Raises ConfigError where tiles cannot be graded one by one, or
    the model does not say what its tiles are.
    """
    if card.method == NEIGHBORS_MATTER:
        raise ConfigError(
            f"a model of method {card.method} grades a tile by all others of its slide. Export one "
            "of another method"
        )
    if card.tiles.size_px is None or card.tiles.mpp is None:
        raise ConfigError(
            "the model does not say of what size and resolution its tiles were. Train it on tiles "
            "or features of 'pathology tile'"
        )
    return encoder_and_head(encoder, bag)


def export_onnx(whole: EncoderAndHead, card: ModelCard, path: Path) -> Path:
    """Write an ONNX file: tiles (B, 3, H, W) of RGB from 0 to 1 in, probabilities (B, C) out.

    Grades, tile size, resolution, stain and encoder are in its metadata. Raises ArtifactError where
    the file does not answer as the model does, to within 1e-4.
    """
    import onnx

    tiles_B3HW = _noise(card)
    with publish(path) as scratch:
        write_onnx(whole, tiles_B3HW, scratch, OUTPUTS)
        made = onnx.load(scratch)
        onnx.helper.set_model_props(made, {k: str(v) for k, v in facts_of(card).items()})
        onnx.save(made, scratch)
        _require_parity(_by_onnx(scratch, tiles_B3HW), whole, tiles_B3HW, path)
    return path


def export_wsinfer(whole: EncoderAndHead, card: ModelCard, folder: Path) -> Path:
    """Write FOLDER/torchscript_model.pt and config.json as WSInfer and QuPath read them.

    Colors are normalized within the network, so the configuration asks for none. Raises
    ArtifactError where the file does not answer as the model does, to within 1e-4.
    """
    require_only(folder, WSINFER_FILES.__contains__)
    tiles_B3HW = _noise(card)
    config = {
        "spec_version": "1.0",
        "architecture": card.tiles.encoder,
        "num_classes": len(card.grades),
        "class_names": list(card.grades),
        "patch_size_pixels": card.tiles.size_px,
        "spacing_um_px": card.tiles.mpp,
        "transform": [
            {"name": "Resize", "arguments": {"size": tiles_B3HW.shape[-1]}},
            {"name": "ToTensor"},
        ],
    }
    with publish(folder) as scratch:
        scratch.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # traced shapes are those of the tiles
            traced = torch.jit.trace(LogProbabilities(whole), (tiles_B3HW,))  # type: ignore[no-untyped-call]
            torch.jit.save(traced, scratch / "torchscript_model.pt")
            loaded = torch.jit.load(scratch / "torchscript_model.pt")  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            found_BC: Tensor = loaded(tiles_B3HW).softmax(dim=1)
        _require_parity(found_BC, whole, tiles_B3HW, folder)
        (scratch / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        said = "\n".join(f"* {name}: {value}" for name, value in facts_of(card).items())
        (scratch / "README.md").write_text(f"{NOTE}\n\n{said}\n", encoding="utf-8")
    return folder


def facts_of(card: ModelCard) -> dict[str, Any]:
    """What whoever uses the file must know."""
    return {
        "note": NOTE,
        "grades": ",".join(card.grades),
        "tile_size_px": card.tiles.size_px,
        "input_px": card.tiles.encoder_px or card.tiles.size_px,
        "mpp": card.tiles.mpp,
        "stain": card.tiles.stain,
        "encoder": card.tiles.encoder,
        "method": card.method,
        "training_data": card.training_data,
        "version": card.version,
    }


def _noise(card: ModelCard) -> Tensor:
    """Three tiles of noise, of the size that the encoder is given."""
    edge = card.tiles.encoder_px or card.tiles.size_px
    made = np.random.default_rng(0).random((3, 3, edge or 0, edge or 0), np.float32)
    return torch.from_numpy(made)


def _by_onnx(path: Path, tiles_B3HW: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found_BC,) = session.run(["probabilities"], {"tiles": tiles_B3HW.numpy()})
    return torch.from_numpy(found_BC)


@torch.inference_mode()
def _require_parity(
    found_BC: Tensor, whole: EncoderAndHead, tiles_B3HW: Tensor, path: Path
) -> None:
    off = float((found_BC - whole(tiles_B3HW)[1]).abs().max())
    if not off < TOLERANCE:
        raise ArtifactError(
            f"{path}: the translated network is off by {off:.1e}, and was not kept. Predict with "
            "the model itself"
        )
