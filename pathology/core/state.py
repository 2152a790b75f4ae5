"""Tensors and plain values in a file: the one place where torch reads and writes."""

from __future__ import annotations

import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from pathology.core.artifact import publish
from pathology.core.errors import ArtifactError
from pathology.core.output_place import ZIP

DAMAGE = (
    pickle.UnpicklingError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, KeyError,
    AttributeError, IndexError, TypeError,
)  # fmt: skip


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values, whole or not at all.

    Raises OSError where the disk is full, which torch itself would call something else.
    """
    made = BytesIO()
    torch.save(state, made)
    with publish(path) as scratch:
        scratch.write_bytes(made.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """What save_state wrote, on the CPU. Raises ArtifactError where it is damaged or no such file.

    Nothing but tensors and plain values is read, so that a file cannot run code. The checksums of
    its parts are compared, which torch does not do.
    """
    try:
        _require_checksums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error})") from error
    except DAMAGE as error:
        raise ArtifactError(f"{path}: not a file of weights, or a damaged one") from error
    if not isinstance(state, dict):
        raise ArtifactError(f"{path}: holds {type(state).__name__} where weights should be")
    return state


def _require_checksums(path: Path) -> None:
    """Raise BadZipFile for a part that is not what was written; files of old versions have none."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            if stream.read(2) == ZIP:
                raise zipfile.BadZipFile("its end is missing")
        return
    with zipfile.ZipFile(path) as parts:
        damaged = parts.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Weights by name from a .safetensors file or one of torch, which may nest them.

    Raises ArtifactError where it is damaged or holds none.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"{path}: cannot be read ({error})") from error
    state = load_state(path)
    for name in ("state_dict", "model"):
        if isinstance(state.get(name), dict):
            state = state[name]
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ArtifactError(f"{path}: holds no weights by name")
    return dict(state)
