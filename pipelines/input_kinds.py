"""What a path given to a command is: a run, a store, slides, pictures; and its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pathology.core.errors import ArtifactError, ManifestError, SlideError
from pathology.core.manifest import SlideRecord, read_manifest
from pathology.core.table import files_below, slide_stem
from pipelines.flat_pictures import SUFFIXES, is_picture, names_of, unlike_names
from pipelines.run_stores import read_stores, stores_of

Kind = Literal["run", "store", "manifest", "slide", "images"]
TABLES = (".csv", ".tsv", ".parquet")
EXPECTED = (
    "Give a tiling run, a tile store (.zarr), a folder of pictures or slides, a manifest "
    "(.csv, .parquet) or a slide file"
)


@dataclass(frozen=True)
class TileInput:
    """What there is to stain, to learn from, or to grade.

    kind      run or store: tile stores; manifest or slide: whole slides; images: flat pictures,
              one or many
    stores    the tile stores of a run, or the one
    slides    slides or pictures, each with its id
    names     of pictures: the file each becomes, below the output folder
    rejected  rows of a manifest that cannot be used, and slides of a run that have no tiles
    centres   of a run's slides, by id
    """

    kind: Kind
    path: Path
    stores: tuple[Path, ...] = ()
    slides: tuple[SlideRecord, ...] = ()
    names: tuple[str, ...] = ()
    rejected: tuple[SlideError, ...] = ()
    centres: tuple[tuple[str, str], ...] = ()

    @property
    def num_members(self) -> int:
        """Slides, stores or pictures, those that cannot be used among them."""
        return len(self.stores) + len(self.slides) + len(self.rejected)


def look_at(path: Path, data_root: Path | None = None) -> TileInput:
    """Tell what a path is and list its members, without reading any pixels.

    data_root  where a manifest's relative paths start; default: where the manifest lies
    Raises ArtifactError for a path that is none of what can be used, ManifestError for a manifest
    that cannot be read.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file or folder. {EXPECTED}")
    if path.suffix.lower() in TABLES and path.is_file():
        return _look_at_manifest(path, data_root)
    if path.is_dir():
        return _look_at_folder(path)
    if is_picture(path):
        name = f"{slide_stem(path.name)}.png"
        return TileInput("images", path, slides=(_record(path),), names=(name,))
    return TileInput("slide", path, slides=(_record(path),))


def as_input(given: Path | TileInput) -> TileInput:
    """The members of a path, see look_at; or those that were listed before."""
    return given if isinstance(given, TileInput) else look_at(given)


def _look_at_folder(path: Path) -> TileInput:
    if path.suffix == ".zarr":
        return TileInput("store", path, stores=tuple(stores_of(path)))
    if (path / "process_list.csv").is_file() or any((path / "tiles").glob("*.zarr")):
        found = read_stores(path)
        missing = tuple(
            SlideError(one.slide_id, "no tiles", one.reason.rstrip(".")) for one in found.missing
        )
        return TileInput("run", path, stores=found.stores, rejected=missing, centres=found.centres)
    if any(path.glob("*.zarr")):
        raise ArtifactError(f"{path} holds tile stores: give the run's folder, {path.parent}")
    if any(path.glob("*.dcm")):
        return TileInput("slide", path, slides=(SlideRecord(path.name, path),))
    pictures = _pictures_below(path)
    if pictures is not None:
        ids = names_of(pictures, path)
        slides = [SlideRecord(name, file) for name, file in zip(ids, pictures, strict=True)]
        names = _png_names([file.relative_to(path) for file in pictures])
        return TileInput("images", path, slides=tuple(slides), names=names)
    return _look_at_manifest(path, None)


def _look_at_manifest(path: Path, data_root: Path | None) -> TileInput:
    """A manifest of slides, or of pictures where all its files are such."""
    try:
        manifest = read_manifest(path, data_root)
    except ManifestError as error:
        if path.is_dir():
            raise ArtifactError(f"{path}: no tiles, slides or pictures here. {EXPECTED}") from error
        raise
    slides, rejected = manifest.slides, manifest.rejected
    there = [slide for slide in slides if slide.slide_path.exists()]
    if not there or not all(is_picture(slide.slide_path) for slide in there):
        return TileInput("manifest", path, slides=slides, rejected=rejected)
    stems = [slide_stem(slide.slide_path.name) for slide in slides]
    ids = [slide.slide_id for slide in slides]
    names = stems if len(set(stems)) == len(stems) else ids
    return TileInput(
        "images",
        path,
        slides=slides,
        names=tuple(f"{name}.png" for name in names),
        rejected=rejected,
    )


def _pictures_below(folder: Path) -> list[Path] | None:
    """All pictures of a folder, or None where it has none, or a slide among them."""
    files = sorted(files_below(folder))
    is_slide = [path for path in files if _may_be_slide(path)]
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    return pictures if pictures and not is_slide else None


def _may_be_slide(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return not is_picture(path)
    return slide_stem(path.name) != path.name


def _png_names(inside: Sequence[Path]) -> tuple[str, ...]:
    """The names of pictures as .png; where two would get one name, each keeps its suffix too."""
    named = [path.with_suffix(".png").as_posix() for path in inside]
    return tuple(unlike_names(named, [f"{path.as_posix()}.png" for path in inside]))


def _record(path: Path) -> SlideRecord:
    return SlideRecord(slide_stem(path.name), path)
