"""A run that is about to be done, and digests by which its stages know what changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pathology.core.artifact import fingerprint
from pathology.core.config import StageConfig
from pathology.core.manifest import Manifest
from pathology.core.run_record import num_cores
from pipelines.run_config import RunConfig, RunFolder
from pipelines.stain_table import read_stain_table
from pipelines.tables import read_process_list

SCHEMA = 1


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; nothing here changes what comes out.

    num_devices  processes that share a training, a GPU for each
    """

    workers: int | None = None
    scheduler: str | None = None
    timeout_s: float | None = None
    device: str = "auto"
    num_devices: int = 1

    @property
    def num_workers(self) -> int:
        """Processes and threads in all; 0: one thread."""
        return num_cores() if self.workers is None else self.workers


@dataclass(frozen=True)
class Planned:
    """Settings, folder and options of a run, and what is known of its slides.

    home    where relative paths start
    labels  the table of slides, as read
    """

    config: RunConfig
    home: Path
    options: RunOptions
    folder: RunFolder
    labels: Manifest

    @property
    def manifest(self) -> Path:
        """The table of slides."""
        return self.home / self.config.manifest

    @property
    def data_root(self) -> Path | None:
        """Where the slides' relative paths start."""
        return self.home / self.config.data_root if self.config.data_root else None

    @property
    def stain_model(self) -> Path | None:
        """The file of the stain model: the one that is named, or that the run makes; or none."""
        if self.config.stain_target is not None:
            return self.folder.style(is_learned=self.config.stain_train is not None)
        return self.home / self.config.stain_model if self.config.stain_model else None

    @property
    def named_files(self) -> list[Path]:
        """What the settings name, and must be there."""
        config, images = self.config, self.config.microscope
        named = (config.stain_model, config.encoder_weights, images and images.images)
        return [self.home / name for name in named if name]

    @property
    def encoder_weights(self) -> Path | None:
        """The file of the encoder's weights, if one is named."""
        return self.home / self.config.encoder_weights if self.config.encoder_weights else None

    @property
    def images(self) -> Path | None:
        """The microscope's pictures."""
        return self.home / self.config.microscope.images if self.config.microscope else None

    @property
    def tiles(self) -> Path:
        """The run whose tiles are learned from."""
        return self.folder.out if self.config.stain is None else self.folder.stained


def recipe_of(kind: str, config: StageConfig, **inputs: str) -> str:
    """Fingerprint of a stage: of its settings and of what it reads."""
    return fingerprint(f"run {kind}", SCHEMA, config, inputs)


def tiles_digest(run: Path) -> str:
    """Digest of which slides of a run have tiles, and of what these were made by."""
    rows = read_stain_table(run / "stain.csv") or read_process_list(run / "process_list.csv")
    return table_digest((r.slide_id, r.status, r.num_tiles, r.fingerprint) for r in rows)


def table_digest(rows: Iterable[Iterable[object]]) -> str:
    """Twelve hex digits of a table."""
    text = repr([tuple(row) for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
