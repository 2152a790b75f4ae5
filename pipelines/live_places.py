"""Where a session writes: refused before it starts, not when all has been seen."""

from __future__ import annotations

from pathlib import Path

from pathology.core.errors import ConfigError
from pathology.inference.session_saver import COLUMNS, MANIFEST
from pipelines.live_sources import SIMULATED


def require_places(source: str, record: Path | None, save: Path | None) -> None:
    """Raise ConfigError where a recording or pictures cannot be kept, or would hit the source.

    source  as on the command line: links are followed, and a file by another name is known
    """
    origin = Path(source.removeprefix(SIMULATED))
    if record is not None:
        if record.is_dir():
            raise ConfigError(f"--record {record}: is a folder. Give a name that ends in .mp4")
        if _is_same(record, origin):
            raise ConfigError(f"--record {record}: is the source itself. Give another name")
        if record.exists():
            raise ConfigError(f"--record {record}: is there already. Give another name")
        _require_folder("--record", record, record.parent)
    if save is not None:
        if origin.is_dir() and _is_same(save, origin):
            raise ConfigError(f"--save {save}: is the source itself. Give another folder")
        _require_folder("--save", save, save)
        _require_own_manifest(save / MANIFEST)


def _require_own_manifest(manifest: Path) -> None:
    """Raise ConfigError where another table lies; one to which labels were added goes on."""
    if manifest.is_file():
        with manifest.open(encoding="utf-8-sig", errors="replace") as stream:
            names = stream.readline().strip().split(",")
        if not set(COLUMNS) <= set(names):
            raise ConfigError(
                f"--save {manifest.parent}: its {MANIFEST} lacks columns that sessions write "
                f"({', '.join(COLUMNS)}). Give another folder"
            )


def _require_folder(option: str, given: Path, folder: Path) -> None:
    """Raise ConfigError where a file stands in the place of a folder, or of one above it."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{option} {given}: {path} is a file, not a folder")


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
