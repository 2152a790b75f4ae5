"""Any stain model from its file: a classical one is JSON text, a learned one is torch's."""

from __future__ import annotations

import json
from pathlib import Path

from pathology.stain.config import Method
from pathology.stain.fit import REFERENCES
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.normalizer import StainModel
from pathology.stain.saved_style import StainError
from pathology.stain.unchanged import Unchanged


def load_model(path: Path | None, method: Method = "macenko", device: str = "cpu") -> StainModel:
    """The model of a file. Raises StainError where it is none.

    method  what is wanted where no file is named: macenko (a textbook style) and none only
    device  where a learned model's networks run
    """
    if path is None:
        return _without_file(method)
    if is_learned(path):
        from pathology.stain.learned import LearnedModel

        model: StainModel = LearnedModel.load(path, device)
        return model
    return _classical(path)


def is_learned(path: Path) -> bool:
    """Whether a file holds a learned model, or at least no classical one: it is not JSON."""
    try:
        with path.open("rb") as stream:
            return not stream.read(64).lstrip().startswith(b"{")
    except OSError as error:
        raise StainError(f"{path}: cannot be read ({error.strerror})") from error


def _without_file(method: Method) -> StainModel:
    if method == "none":
        return Unchanged()
    if method == "macenko":
        return TEXTBOOK
    raise StainError(
        f"{method} needs a model. Make one with `pathology stain fit --method {method}`"
    )


def _classical(path: Path) -> StainModel:
    try:
        said = json.loads(path.read_bytes())
    except ValueError as error:
        raise StainError(f"{path}: not a stain reference (damaged JSON: {error})") from error
    method = said.get("method", "macenko")
    kind = REFERENCES.get(method) if isinstance(method, str) else None
    if kind is None:
        known = ", ".join(REFERENCES)
        raise StainError(f"{path}: method {method!r} is not known; expected one of {known}")
    return kind.load(path)
