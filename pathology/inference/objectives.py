"""Microns per pixel of each objective, measured once and kept in a small YAML file."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import Field

from pathology.core.artifact import write_text
from pathology.core.config import StageConfig, load_config, to_yaml
from pathology.core.errors import ConfigError
from pathology.core.geometry import MAX_MPP, MIN_MPP
from pathology.inference.live_facts import Scale


class Objective(StageConfig):
    """What is known of an objective on one camera.

    mpp    microns per pixel
    how    how that was found
    glass  color of empty glass, 8-bit RGB
    """

    mpp: float = Field(ge=MIN_MPP, le=MAX_MPP)
    how: str = ""
    glass: tuple[float, float, float] | None = None


class Objectives(StageConfig):
    """Objectives by name, as 4x or 20x."""

    objectives: dict[str, Objective] = Field(default_factory=dict)

    def scale(self, name: str, path: Path) -> Scale:
        """The scale of one. Raises ConfigError where it is not there."""
        found = self.objectives.get(name)
        if found is None:
            known = ", ".join(self.objectives) or "none yet"
            raise ConfigError(
                f"{path}: objective {name!r} is not calibrated ({known}). Run 'pathology live "
                f"calibrate --objective {name}', or give --camera-um, the camera's pixel size"
            )
        return Scale(found.mpp, "calibrated", name, found.glass)


def read_objectives(path: Path) -> Objectives:
    """Those of a file; none where there is no file. Raises ConfigError for one that is damaged."""
    return load_config(Objectives, path) if path.is_file() else Objectives()


def keep_objective(path: Path, name: str, objective: Objective) -> None:
    """Write one into the file, beside the others."""
    known = read_objectives(path)
    write_text(path, to_yaml(Objectives(objectives={**known.objectives, name: objective})))


def nominal_scale(objective: str, camera_um: float, adapter: float) -> Scale:
    """What arithmetic says: the camera's pixel over the magnification. Raises ConfigError.

    objective  its magnification, as 20 or 20x
    camera_um  edge of the camera's pixel
    adapter    magnification of the camera's adapter

    >>> nominal_scale("20x", 3.45, 0.5).mpp
    0.345
    """
    try:
        power = float(objective.lower().removesuffix("x"))
    except ValueError:
        power = 0.0
    if not 0 < power < math.inf:
        raise ConfigError(f"objective {objective!r}: expected a magnification, e.g. 20x")
    mpp = camera_um / (power * adapter) if adapter > 0 else math.nan
    if not MIN_MPP <= mpp <= MAX_MPP:
        raise ConfigError(
            f"objective {objective!r} with --camera-um {camera_um:g} and --adapter {adapter:g}: "
            f"{mpp:.4g} um/px is not that of a microscope ({MIN_MPP}-{MAX_MPP})"
        )
    return Scale(mpp, "nominal, not calibrated", objective)
