"""The models of an evaluation: files side by side, each under a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pathology.evaluation.stain_page import ModelFacts
from pathology.evaluation.stain_summary import NONE
from pathology.stain.config import Quality, StainConfig
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import PassThrough, SlideNormalizer, StainModel
from pathology.stain.saved_style import StainError

MPP_TOLERANCE = 0.02  # as a fraction: what a model was made for, and what tiles have


@dataclass(frozen=True)
class NamedModel:
    """A model under its name in the tables; model None changes nothing.

    quality  of a learned model, where another than the settings' is asked for
    """

    name: str
    model: StainModel | None = None
    quality: Quality | None = None
    file: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the model, and of the quality that was asked for."""
        found = self.model.fingerprint if self.model else NONE
        return f"{found} {self.quality}" if self.quality else found

    @property
    def facts(self) -> ModelFacts:
        """What the page says of it."""
        if self.model is None:
            return ModelFacts(self.name, NONE, "tiles as they are", "")
        return ModelFacts(
            self.name, self.model.method, self.model.source, self.fingerprint, self.file
        )

    def for_slide(self, sample_NHW3: Pixels, config: StainConfig) -> SlideNormalizer:
        """A normalizer for the slide of which the sample shows tiles."""
        if self.model is None:
            return PassThrough()
        asked = {"quality": self.quality} if self.quality else {}
        return self.model.for_slide(sample_NHW3, config.model_copy(update=asked))

    @property
    def mpp(self) -> float | None:
        """Microns per pixel of the tiles that it takes; None: any."""
        return self.model.mpp if self.model else None

    def misfit(self, mpp: float | None) -> str:
        """Why the model is not for tiles of this many microns per pixel, or ""."""
        wanted = self.mpp
        if wanted is None or mpp is None or abs(mpp / wanted - 1) <= MPP_TOLERANCE:
            return ""
        return f"the model is for {wanted:g} um/px, the tiles have {mpp:g}"


def load_models(texts: Sequence[str], device: str = "cpu") -> list[NamedModel]:
    """ "none" and the model of each text: a file, or file:quality for a learned one.

    device  where networks of learned ones run: cpu, cuda, mps, or auto

    The name is the file's, with numbers where it occurs twice. Raises StainError or OSError for
    a file that is no model, ConfigError for a device that is not there.
    """
    from pathology.stain.load import is_learned, load_model

    if device != "cpu":  # or a library is loaded that no table needs
        from pathology.training.fabric import device_of

        device = device_of(device)
    found = [NamedModel(NONE)]
    for text in texts:
        path, quality = _parsed(text)
        if quality and not is_learned(path):
            raise StainError(f"{text}: {quality} is of learned models. Give {path} alone")
        stem = f"{path.stem} {quality}" if quality else path.stem
        taken = {model.name for model in found}
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem} ({number})", number + 1
        found.append(NamedModel(name, load_model(path, device=device), quality, path.name))
    return found


def _parsed(text: str) -> tuple[Path, Quality | None]:
    """File and quality.

    >>> _parsed("a/cycle.pt:lut"), _parsed("a/b.json")
    ((PosixPath('a/cycle.pt'), 'lut'), (PosixPath('a/b.json'), None))
    """
    path, colon, last = text.rpartition(":")
    for quality in get_args(Quality):
        if colon and last == quality:
            return Path(path), quality
    return Path(text), None
