"""Slides and pictures cut into the tiles that a classifier was taught on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pathology.core.artifact import write_text
from pathology.core.config import load_config
from pathology.core.errors import ArtifactError
from pathology.core.table import csv_text
from pathology.models.card import ContractError, TileContract, load_classifier
from pathology.tiling.config import TilingConfig
from pipelines.input_kinds import TABLES, look_at
from pipelines.tables import read_process_list
from pipelines.tile import TileOptions, tile_manifest
from pipelines.weak_inputs import is_features


@dataclass(frozen=True)
class CutOptions:
    """How slides are cut.

    out         run folder of their tiles
    data_root   where a manifest's relative paths start
    assume_mpp  for slides and pictures that say nothing of their resolution
    workers     processes; None: as many as there are cores, 0: this one
    """

    out: Path
    data_root: Path | None = None
    assume_mpp: float | None = None
    workers: int | None = None


def has_tiles(path: Path) -> bool:
    """Whether a path is a run, a store or features; slides and pictures have none yet."""
    return is_features(path) or (path.exists() and look_at(path).kind in ("run", "store"))


def tile_for_model(model: Path, path: Path, options: CutOptions) -> list[str]:
    """Fill a run with the tiles that a classifier wants of slides or pictures; gives their ids.

    path  a slide, a picture, a folder of either, or a manifest; pictures without a manifest are
          taken for a camera's
    Raises ContractError where the classifier does not say what it wants, or wants normalized
    tiles, and ArtifactError where no slide has any.
    """
    card, _ = load_classifier(model)
    wanted = card.tiles
    run = options.out
    if wanted.stain != "raw":
        raise ContractError(
            f"{model} was taught on tiles whose stain was normalized by {wanted.stain}. Tile the "
            "slides with 'pathology tile', normalize them with 'pathology stain apply', and "
            "predict on that run"
        )
    manifest = _manifest_of(path, run)
    tiling = TileOptions(
        manifest, run, data_root=options.data_root, assume_mpp=options.assume_mpp,
        workers=options.workers,
    )  # fmt: skip
    tile_manifest(tiling, _tiling(model, wanted))
    table = run / "process_list.csv"
    rows = read_process_list(table)
    if not any(row.num_tiles for row in rows):
        raise ArtifactError(f"{path}: none of its slides has tiles; {table} says why of each")
    return [row.slide_id for row in rows]


def _tiling(model: Path, wanted: TileContract) -> TilingConfig:
    """Settings by which tiles become as wanted."""
    if wanted.mpp is None or wanted.size_px is None:
        raise ContractError(
            f"{model} does not say which tiles it was taught on. Tile the slides as its own were "
            "with 'pathology tile', and predict on that run"
        )
    return load_config(
        TilingConfig, None, [f"tile.mpp={wanted.mpp}", f"tile.size_px={wanted.size_px}"]
    )


def _manifest_of(path: Path, run: Path) -> Path:
    """A table or a folder of slides as it is; a slide, or flat pictures, as a table in the run.

    Pictures are taken for a camera's, on which no tissue is searched for.
    """
    if path.is_file() and path.suffix.lower() in TABLES:
        return path
    given = look_at(path)
    if path.is_dir() and given.kind != "images":
        return path
    domain = "microscope" if given.kind == "images" else "wsi"
    rows = [[r.slide_id, r.slide_path.resolve(), domain] for r in given.slides]
    made = run / "slides.csv"
    made.parent.mkdir(parents=True, exist_ok=True)
    write_text(made, csv_text([["slide_id", "slide_path", "domain"], *rows]))
    return made
