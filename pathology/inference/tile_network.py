"""Encoder and head as one graph of ONNX Runtime: tiles in, features and probabilities out."""

from __future__ import annotations

import tempfile
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pathology.core.errors import ConfigError
from pathology.models.encode import to_images
from pathology.models.encoder import Encoder
from pathology.models.onnx_session import LARGEST, write_onnx
from pathology.slides.reader import Pixels
from pathology.weak.pooling import PooledTiles

TOLERANCE = 1e-4  # of probabilities
OUTPUTS = ["features", "probabilities"]
NEIGHBORS_MATTER = "transmil"  # its tiles are graded with an eye on all others


class Answers(NamedTuple):
    """Features (N, F) of tiles and probabilities (N, C) of their grades."""

    features_NF: NDArray[np.float32]
    probability_NC: NDArray[np.float32]


class EncoderAndHead(nn.Module):
    """What is translated: RGB tiles (B, 3, H, W) from 0 to 1 to features and probabilities."""

    def __init__(self, encoder: Encoder, bag: nn.Module) -> None:
        super().__init__()
        self.encoder, self.bag = encoder, bag

    def forward(self, tiles_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F) and probabilities (B, C)."""
        features_BF = self.encoder(tiles_B3HW)
        return features_BF, self.bag(features_BF[None]).tile_BNC[0].softmax(dim=1)


def encoder_and_head(encoder: Encoder, bag: nn.Module) -> EncoderAndHead:
    """Both as one module for use on a CPU."""
    if isinstance(bag, PooledTiles):  # tiles are graded alike whatever pools them
        bag = copy(bag)
        bag.pooling = "mean"
    return EncoderAndHead(encoder, bag).eval().requires_grad_(False).cpu()


class TileNetwork:
    """A trained classifier of tiles, ready for a stream on a CPU.

    edge_px  that tiles are scaled to before the encoder; None: as they come
    threads  of ONNX Runtime; they do not spin while they wait, for others need the cores
    engine   onnxruntime, or torch where the network cannot be translated
    Raises ConfigError for a method whose tiles cannot be graded one by one.
    """

    def __init__(
        self,
        encoder: Encoder,
        bag: nn.Module,
        method: str,
        *,
        size_px: int,
        edge_px: int | None = None,
        threads: int = 2,
    ) -> None:
        if method == NEIGHBORS_MATTER:
            raise ConfigError(
                f"a model of method {method} grades a tile by all others of its slide, which a "
                "camera never shows. Train one of another method"
            )
        self.edge_px = edge_px
        self.module = encoder_and_head(encoder, bag)
        blank = to_images(np.full((2, size_px, size_px, 3), 128, np.uint8), size_px=edge_px)
        self._session = _session(self.module, encoder.fitted(blank), threads)
        if self._session is not None and not self._is_faithful(size_px):
            self._session = None
        self.engine = "torch" if self._session is None else "onnxruntime"

    def __call__(self, tiles_NHW3: Pixels) -> Answers:
        """Answers to 8-bit RGB tiles of size_px."""
        images = to_images(tiles_NHW3, size_px=self.edge_px)
        if self._session is None:
            return self.by_torch(images)
        given = self.module.encoder.fitted(images).contiguous().numpy()
        return Answers(*self._session.run(None, {"tiles": given}))

    def _is_faithful(self, size_px: int) -> bool:
        """Whether the graph answers as torch does, to more tiles than it was made with."""
        noise = np.random.default_rng(0).integers(0, 256, (3, size_px, size_px, 3), np.uint8)
        wanted = self.by_torch(self.module.encoder.fitted(to_images(noise, size_px=self.edge_px)))
        off = np.abs(self(noise).probability_NC - wanted.probability_NC).max()
        return bool(off < TOLERANCE)

    @torch.inference_mode()
    def by_torch(self, images_N3HW: Tensor) -> Answers:
        """The same answers by torch itself, of images from 0 to 1."""
        return Answers(*(found.numpy() for found in self.module(images_N3HW)))


def _session(module: EncoderAndHead, images_23HW: Tensor, threads: int) -> Any:
    """ONNX Runtime with the graph in it, or None where it cannot be translated."""
    import onnxruntime

    if sum(p.numel() for p in module.parameters()) > LARGEST:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory(prefix="pathology-") as folder, torch.no_grad():
        path = Path(folder) / "classifier.onnx"
        try:
            write_onnx(module, images_23HW, path, OUTPUTS)
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 (translator and runtime raise whatever they like)
            return None
