"""Encoders on a CPU through ONNX Runtime: the same features, several times faster than torch's."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pathology.models.encoder import Encoder

LARGEST = 400_000_000  # parameters; what is larger needs more than the format's 2 GB


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
            self._sessions[size] = _session(self.encoder, tiles_B3HW[:1])
        session = self._sessions[size]
        if session is None:
            self.engine = "torch"
            features: Tensor = self.encoder(tiles_B3HW)
            return features
        self.engine = "onnxruntime"
        (found,) = session.run(None, {"tiles": tiles_B3HW.contiguous().numpy()})
        return torch.from_numpy(found)


def write_onnx(module: nn.Module, tiles_B3HW: Tensor, path: Path, outputs: list[str]) -> None:
    """Translate a network of tiles, of any number and of this size, to an ONNX file.

    Raises whatever the translator does where it cannot.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's newer translator, which is much slower
        torch.onnx.export(
            module, (tiles_B3HW,), path, dynamo=False, input_names=["tiles"], output_names=outputs,
            dynamic_axes={name: {0: "num"} for name in ("tiles", *outputs)},
        )  # fmt: skip


def _session(encoder: Encoder, tiles_13HW: Tensor) -> Any:
    """ONNX Runtime with the encoder in it, or None where it cannot be translated."""
    import onnxruntime

    if sum(p.numel() for p in encoder.parameters()) > LARGEST:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="pathology-") as folder, torch.no_grad():
        path = Path(folder) / "encoder.onnx"
        try:
            write_onnx(encoder, tiles_13HW.clone(), path, ["features"])
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 (translator and runtime raise whatever they like)
            return None
