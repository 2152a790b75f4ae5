"""Encoders on a CPU through ONNX Runtime: the same features, several times faster than torch's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pathology.models.encoder import Encoder
from pathology.models.onnx_session import open_session


class OnnxEncoder(nn.Module):
    """An encoder whose weights will not change, for use on a CPU.

    A session is made for each size of tiles when such tiles first come, from then on features of
    a tile do not depend on which others are in its block. A network that cannot be translated is
    run by torch.

    engine  onnxruntime or torch: what was last used; empty before
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.eval()
        self.name, self.num_features = encoder.name, encoder.num_features
        self.engine = ""
        self._sessions: dict[tuple[int, ...], Any] = {}

    def forward(self, tiles_B3HW: Tensor) -> Tensor:
        """Features (B, F) of tiles, RGB from 0 (black) to 1 (white)."""
        tiles_B3HW = self.encoder.fitted(tiles_B3HW)
        size = tuple(tiles_B3HW.shape[2:])
        if size not in self._sessions:
            self._sessions[size] = open_session(self.encoder, tiles_B3HW[:1], "features")
        session = self._sessions[size]
        if session is None:
            self.engine = "torch"
            features: Tensor = self.encoder(tiles_B3HW)
            return features
        self.engine = "onnxruntime"
        (found,) = session.run(None, {"tiles": tiles_B3HW.contiguous().numpy()})
        return torch.from_numpy(found)
