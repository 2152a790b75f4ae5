"""Commented settings files to start from."""

from __future__ import annotations

from pathlib import Path

from pathology.core.artifact import write_text
from pathology.core.errors import ConfigError

CONFIGS = Path(__file__).resolve().parent / "configs"
STAGES = tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


def write_configs(folder: Path, stages: tuple[str, ...], *, overwrite: bool) -> list[Path]:
    """Copy the commented default settings of some stages (all: no names given) into a folder.

    Raises ConfigError for an unknown stage, or where a file exists and overwrite is False.
    """
    unknown = sorted(set(stages) - set(STAGES))
    if unknown:
        raise ConfigError(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    targets = {stage: folder / f"{stage}.yaml" for stage in stages or STAGES}
    existing = [str(path) for path in targets.values() if path.exists()]
    if existing and not overwrite:
        raise ConfigError(f"{', '.join(existing)} exists. Pass --overwrite to replace it")
    for stage, path in targets.items():
        write_text(path, (CONFIGS / f"{stage}.yaml").read_text(encoding="utf-8"))
    return list(targets.values())
