"""Networks of tiles translated to ONNX, and ONNX Runtime with them in it."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 400_000_000  # parameters; what is larger needs more than the format's 2 GB


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


def open_session(module: nn.Module, tiles_13HW: Tensor, output: str) -> Any:
    """ONNX Runtime with a network of one output in it, or None where it cannot be translated."""
    import onnxruntime

    if sum(p.numel() for p in module.parameters()) > LARGEST:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # threads that wait by turning round take the cores that torch needs for the rest of a step
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory(prefix="pathology-") as folder, torch.no_grad():
        path = Path(folder) / "network.onnx"
        try:
            write_onnx(module, tiles_13HW.clone(), path, [output])
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 (translator and runtime raise whatever they like)
            return None
