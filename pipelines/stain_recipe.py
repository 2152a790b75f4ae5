"""How inputs are normalized, whatever they are: what shapes pixels, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pathology.slides.ome_writer import PyramidConfig
from pathology.stain.config import StainConfig, is_classical
from pathology.stain.contract import stain_fingerprint
from pathology.stain.normalizer import StainModel

ALREADY = "already complete"  # how the reason of what an earlier run has done begins


@dataclass(frozen=True)
class Recipe:
    """What is done to every member of an input.

    pyramid     of whole slides
    assume_mpp  for slides and pictures that state none
    processes   that share the work on one slide; 0: it is done in this one
    threads     that share the work on one store
    """

    model: StainModel
    config: StainConfig
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    assume_mpp: float | None = None
    processes: int = 0
    threads: int = 1

    @property
    def stain(self) -> str:
        """Fingerprint of the stain that comes out, of model and settings."""
        return stain_fingerprint(self.model.fingerprint, self.config)

    @property
    def is_learned(self) -> bool:
        """Whether the model is a network, which may be rendered in several qualities."""
        return not is_classical(self.model.method)

    @property
    def notes(self) -> dict[str, str]:
        """What every picture says of the stain that it is in."""
        quality = {"quality": self.config.quality} if self.is_learned else {}
        return {
            "stain": self.stain,
            "model_fingerprint": self.model.fingerprint,
            "method": self.model.method,
            "style": self.model.source,
            **quality,
        }


def said_again(reason: str) -> str:
    """The reason of a member that an earlier run has done and gave a reason for."""
    return f"{ALREADY}; {reason}" if reason else ALREADY


@dataclass(frozen=True)
class Failure:
    """What stood in the way of a part of the work; error is the traceback of a surprise."""

    fault: Exception
    error: str


def failure(item: object, fault: Exception, seconds: float, error: str) -> Failure:
    """The result of a part that could not be done, as core.supervise asks for it."""
    return Failure(fault, error)


def raise_first(results: list[Any]) -> None:
    """Raise the first fault among the results of parts, with the traceback it had elsewhere."""
    for result in results:
        if isinstance(result, Failure):
            if result.error:
                result.fault.add_note(result.error)
            raise result.fault
