"""Start an adaptation from a model's file: its head, and its encoder where it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pathology.adapt.network import SOURCE, TARGET, DomainClassifier
from pathology.core.artifact import content_digest
from pathology.core.errors import ConfigError
from pathology.models.card import ModelCard, load_classifier
from pathology.models.encoder import Encoder
from pipelines.features import weights_digest


@dataclass(frozen=True, eq=False)
class Start:
    """A model to start from; digest is that of its file."""

    path: Path
    card: ModelCard
    weights: Mapping[str, Tensor]
    digest: str

    @property
    def domain(self) -> int:
        """Whose features its head knows: an adapted one the target's, another one the source's."""
        return TARGET if self.card.task == "adapt" else SOURCE

    def require_classes(self, classes: Sequence[str]) -> None:
        """Raise ConfigError unless its classes are these, in this order."""
        if tuple(self.card.grades) != tuple(classes):
            raise ConfigError(
                f"{self.path}: it grades {', '.join(self.card.grades)}, not {', '.join(classes)}. "
                "Start from a model of the same classes in the same order"
            )

    def give_encoder(self, encoder: Encoder) -> None:
        """Give an encoder the weights that the file holds, or see that it is the very one.

        Raises ConfigError where it is another.
        """
        tiles = self.card.tiles
        if tiles.encoder not in ("", encoder.name):
            raise ConfigError(
                f"{self.path}: its encoder is {tiles.encoder}. Set encoder={tiles.encoder}, or "
                "start without it"
            )
        if self.card.has_encoder:
            try:
                encoder.load_state_dict(self._part("encoder."))
            except RuntimeError as error:
                raise ConfigError(f"{self.path}: {_short(error)}") from error
        elif tiles.weights and tiles.weights != weights_digest(encoder):
            raise ConfigError(
                f"{self.path}: its head was learned on features of other weights of "
                f"{encoder.name}. Give those with --weights"
            )

    def give_head(self, model: DomainClassifier) -> None:
        """Give a classifier, whose statistics are known, the head. Raises ConfigError."""
        try:
            model.unfold(self._part("bag."), self.domain)
        except RuntimeError as error:
            raise ConfigError(
                f"{self.path}: its network, of method {self.card.method}, is another one "
                f"({_short(error)}). Start from a model of as many heads, of the same width"
            ) from error

    def _part(self, prefix: str) -> dict[str, Tensor]:
        names = [name for name in self.weights if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.weights[name] for name in names}


def read_start(path: Path) -> Start:
    """A model's file. Raises ArtifactError where it is none."""
    card, weights = load_classifier(path)
    return Start(path, card, weights, content_digest(path))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
