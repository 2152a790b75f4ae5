"""A style as a small JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import ValidationError

from pathology.core.artifact import fingerprint, write_text
from pathology.core.config import StageConfig
from pathology.core.errors import PathologyError

REFERENCE_SCHEMA = 1


class StainError(PathologyError):
    """A stain reference that cannot be made or read."""


class SavedStyle(StageConfig):
    """A style to render towards, kept as a small JSON file.

    source  where it comes from, for the reader; not part of the fingerprint
    """

    method: str
    source: str = ""

    @property
    def mpp(self) -> None:
        """A change of color alone fits any resolution."""
        return None

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of all that shapes pixels."""
        return fingerprint("stain", REFERENCE_SCHEMA, self.model_copy(update={"source": ""}), {})

    def save(self, path: Path) -> None:
        """Write the reference to a JSON file, whole or not at all."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The reference of a JSON file. Raises StainError where it is none."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StainError(f"{path}: cannot be read ({error.strerror})") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise StainError(f"{path}: not a stain reference ({where}: {first['msg']})") from error
