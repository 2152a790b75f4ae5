"""Weights of an encoder from a file, whatever its authors put beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from pathology.core.errors import ArtifactError
from pathology.core.state import load_tensors

HEADS = ("head.", "fc.", "classifier.", "head_drop", "fc_norm")
Weights = dict[str, Tensor]


def load_weights(
    network: nn.Module, path: Path, name: str, fit: Callable[[nn.Module, Weights], Weights]
) -> None:
    """Weights of a file; a head that they may hold is left out.

    fit  gives them the names and the sizes that they have in the network

    Raises ArtifactError where they are of another network than name.
    """
    theirs = load_tensors(path)
    try:
        missing, surplus = network.load_state_dict(fit(network, theirs), strict=False)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path}: weights of another network than {name} ({said})") from error
    odd = [*missing, *(key for key in surplus if not key.startswith(HEADS))]
    if odd:
        raise ArtifactError(
            f"{path}: weights of another network than {name} "
            f"({len(odd)} entries do not match, e.g. {odd[0]})"
        )
