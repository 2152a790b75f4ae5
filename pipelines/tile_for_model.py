"""Slides and pictures cut into the tiles that a classifier was taught on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pathology.core.artifact import write_text
from pathology.core.config import load_config
from pathology.core.errors import ArtifactError
from pathology.core.table import csv_text
from pathology.models.card import ContractError, ModelCard, load_classifier
from pathology.tiling.config import TilingConfig
from pipelines.input_kinds import TABLES, TileInput, look_at
from pipelines.tables import read_process_list
from pipelines.tile import TileOptions, tile_manifest
from pipelines.weak_inputs import is_features

AS_THEY_ARE = 1.0  # um/px, said of pictures whose resolution nobody knows, a model's among them
WHOLE = (  # nothing of a picture is left out, as in training
    "tissue.method=none", "tissue.min_tissue_fraction=0", "tissue.exclude_pen=false",
    "quality.max_white_fraction=1", "quality.max_black_fraction=1", "quality.max_pen_fraction=1",
    "quality.min_sharpness=0",
)  # fmt: skip


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
          taken for a camera's. All of pictures is tiled, however blurred, for a model that was
          carried to such; as they are, where it was taught on pictures that state no resolution.
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
    given = look_at(path, options.data_root)
    is_camera = card.task == "adapt" and given.kind == "images"
    unknown_mpp = None  # of pictures that are cut as they are
    if is_camera and wanted.mpp is None:
        unknown_mpp = options.assume_mpp or AS_THEY_ARE
    manifest = _manifest_of(given, run, unknown_mpp)
    tiling = TileOptions(
        manifest, run, data_root=options.data_root, assume_mpp=options.assume_mpp,
        workers=options.workers,
    )  # fmt: skip
    tile_manifest(tiling, _tiling(model, card, unknown_mpp, is_whole=is_camera))
    table = run / "process_list.csv"
    rows = read_process_list(table)
    if not any(row.num_tiles for row in rows):
        raise ArtifactError(f"{path}: none of its slides has tiles; {table} says why of each")
    return [row.slide_id for row in rows]


def _tiling(
    model: Path, card: ModelCard, unknown_mpp: float | None, *, is_whole: bool
) -> TilingConfig:
    """Settings by which tiles become as wanted."""
    mpp, size_px = card.tiles.mpp or unknown_mpp, card.tiles.size_px
    if mpp is None or size_px is None:
        raise ContractError(
            f"{model} does not say which tiles it was taught on. Tile the slides as its own were "
            "with 'pathology tile', and predict on that run"
        )
    sizes = (f"tile.mpp={mpp}", f"tile.size_px={size_px}")
    return load_config(TilingConfig, None, [*sizes, *(WHOLE if is_whole else ())])


def _manifest_of(given: TileInput, run: Path, unknown_mpp: float | None) -> Path:
    """A table or a folder of slides as it is; a slide, or flat pictures, as a table in the run.

    Pictures are taken for a camera's, on which no tissue is searched for.

    unknown_mpp  said of all pictures, whatever they state
    """
    path = given.path
    is_table = path.is_file() and path.suffix.lower() in TABLES
    is_folder = path.is_dir() and given.kind != "images"
    if is_folder or (is_table and unknown_mpp is None):
        return path
    domain = "microscope" if given.kind == "images" else "wsi"
    mpp = "" if unknown_mpp is None else f"{unknown_mpp:g}"
    rows = [[r.slide_id, r.slide_path.resolve(), r.case_id, mpp, domain] for r in given.slides]
    rows += [
        [e.slide_id, path.parent.resolve() / e.slide_id, "", mpp, domain] for e in given.rejected
    ]
    made = run / "slides.csv"
    made.parent.mkdir(parents=True, exist_ok=True)
    heads = ["slide_id", "slide_path", "case_id", "mpp", "domain"]
    write_text(made, csv_text([heads, *rows]))
    return made
