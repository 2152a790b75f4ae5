"""Commented settings files to start from."""

from __future__ import annotations

from pathlib import Path

from pathology.core.artifact import write_text
from pathology.core.errors import ConfigError

CONFIGS = Path(__file__).resolve().parent / "configs"
STAGES = tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


def write_configs(folder: Path, stages: tuple[str, ...], *, overwrite: bool) -> list[Path]:
    """Copy the commented default settings of some stages (all: no names given) into a folder.

    Raises ConfigError for an unknown stage, or where another file exists and overwrite is False.
    """
    unknown = sorted(set(stages) - set(STAGES))
    if unknown:
        raise ConfigError(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    text_of = {
        folder / f"{stage}.yaml": (CONFIGS / f"{stage}.yaml").read_text(encoding="utf-8")
        for stage in stages or STAGES
    }
    others = [str(path) for path, text in text_of.items() if _is_another(path, text)]
    if others and not overwrite:
        raise ConfigError(f"{', '.join(others)} exists. Pass --overwrite to replace it")
    for path, text in text_of.items():
        write_text(path, text)
    return list(text_of)


def _is_another(path: Path, text: str) -> bool:
    """Whether something lies there that is not what is to be written: as after a full disk."""
    return path.exists() and (path.is_dir() or path.read_bytes() != text.encode())
