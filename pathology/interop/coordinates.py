"""Coordinates that other programs wrote: TRIDENT, CLAM, AtlasPatch, WSInfer, STAMP, and our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import write_text
from pathology.core.errors import ArtifactError
from pathology.interop.h5_coords import RawCoords, read_raw
from pathology.slides.plan import Pair

SUFFIXES = ("_patches.h5", ".h5")  # TRIDENT's, everyone else's
PLACES = ("patches/*.h5", "*/patches/*.h5", "*.h5", "**/patches/*.h5", "**/*.h5")
Listing = Sequence[Mapping[str, Sequence[Path]]]  # of each of PLACES, its files by their names
STAMP_SIZE = ("tile_size_um", "tile_size")  # since version 2.1, before


@dataclass(frozen=True)
class Coordinates:
    """Where another program, or ours, put its tiles on one slide.

    l0_xy         corners (N, 2), int64
    l0_tile_size  (width, height) of a tile in level-0 pixels
    size_px       edge of the finished tile; None where the file does not say
    target_mpp    its resolution; None where the file names only a level or a magnification,
                  and l0_tile_size / size_px times the slide's mpp is the answer
    dialect       trident, clam, wsinfer, atlaspatch or stamp
    l0_slide      (width, height) of the slide meant, to tell a wrong slide; None if not said
    """

    slide_id: str
    l0_xy: NDArray[np.int64]
    l0_tile_size: Pair
    size_px: int | None
    target_mpp: float | None
    dialect: str
    l0_slide: Pair | None = None


def read_coordinates(path: Path, l0_mpp: float | Callable[[], float] | None = None) -> Coordinates:
    """The coordinates in a file, whoever wrote it.

    l0_mpp  level-0 microns per pixel of the slide, or what tells them: asked for STAMP alone, whose
            files count in microns
    Raises ArtifactError where the file is damaged or of no dialect known here.
    """
    raw = read_raw(path)
    on_coords, on_file = raw.attributes, raw.file_attributes
    try:
        if on_file.get("unit") == "um":
            return _from_stamp(raw, l0_mpp() if callable(l0_mpp) else l0_mpp)
        if raw.coords.ndim == 2 and raw.coords.shape[1] == 5:
            return _from_atlaspatch(raw)
        if "level0_magnification" in on_coords and "target_magnification" in on_coords:
            return _from_trident(raw)
        if "patch_spacing_um_px" in on_coords:
            return _from_wsinfer(raw)
        if "patch_level" in on_coords:
            return _from_clam(raw)
    except KeyError as error:
        raise ArtifactError(f"{path}: the attribute {error} is missing") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ArtifactError(f"{path}: an attribute cannot be understood ({error})") from error
    found = ", ".join([*on_coords, *on_file]) or "none"
    raise ArtifactError(
        f"{path}: coordinates of an unknown kind: nothing says how large a tile is (attributes: "
        f"{found}). Give a coordinates file of TRIDENT, CLAM, AtlasPatch, WSInfer or STAMP"
    )


def list_coordinates(folder: Path) -> Listing:
    """The files below a folder that may hold coordinates: looked up once, for many slides."""
    listing = []
    for place in PLACES:
        named: dict[str, list[Path]] = {}
        for path in sorted(folder.glob(place)):
            named.setdefault(path.name, []).append(path)
        listing.append(named)
    return listing


def find_coordinates(folder: Path, slide_id: str, listing: Listing | None = None) -> Path | None:
    """A slide's coordinates file below a folder, or None.

    listing  of the folder, from list_coordinates, where several slides are looked for

    Looks in the folder, in its patches/, one level down, then anywhere; a folder named patches
    counts before others, which may hold features. A file is taken if it is named after the slide.
    Raises ArtifactError where several are left, such as one for each way of tiling.
    """
    names = [slide_id + suffix for suffix in SUFFIXES]
    if folder.is_file():
        return folder if folder.name in names else None
    for named in list_coordinates(folder) if listing is None else listing:
        found = [path for name in names for path in named.get(name, ()) if path.is_file()]
        if found:
            return _only(found, folder, slide_id)
    return None


def write_csv(coordinates: Coordinates, path: Path) -> Path:
    """The corners as a table for people: slide_id, x, y, width, height in level-0 pixels."""
    width, height = coordinates.l0_tile_size
    rows = [f"{coordinates.slide_id},{x},{y},{width},{height}" for x, y in coordinates.l0_xy]
    write_text(path, "\n".join(["slide_id,x,y,width,height", *rows, ""]))
    return path


def _from_trident(raw: RawCoords) -> Coordinates:
    said = raw.attributes
    size_px = _size(said["patch_size"])
    scale = _positive(said["level0_magnification"]) / _positive(said["target_magnification"])
    edge = max(1, round(size_px * scale))  # as TRIDENT's reader rounds, not its patch_size_level0
    return _coordinates(
        raw,
        "trident",
        said.get("l0_tile_size") or (edge, edge),
        size_px,
        said.get("target_mpp"),
        _slide_size(said),
    )


def _from_clam(raw: RawCoords) -> Coordinates:
    said = raw.attributes
    if said.get("custom_downsample", 1) != 1:
        raise ValueError("custom_downsample other than 1 is not supported")
    level, size_px = int(said["patch_level"]), _size(said["patch_size"])
    downsample = (1.0, 1.0) if level == 0 else said["downsample"]
    if not isinstance(downsample, tuple):
        downsample = (downsample, downsample)
    size = (
        round(size_px * _positive(downsample[0])),
        round(size_px * _positive(downsample[1])),
    )
    l0_slide = said.get("level_dim") if level == 0 else None
    return _coordinates(
        raw,
        "clam",
        said.get("l0_tile_size") or size,
        _size(said.get("tile_size_px", size_px)),
        said.get("target_mpp"),
        said.get("l0_size") or l0_slide,
    )


def _from_wsinfer(raw: RawCoords) -> Coordinates:
    """WSInfer: patch_size counts level-0 pixels; the finished tile's own size is not said."""
    edge = _size(raw.attributes["patch_size"])
    spacing = raw.attributes["patch_spacing_um_px"]
    return _coordinates(raw, "wsinfer", (edge, edge), None, spacing, None)


def _from_atlaspatch(raw: RawCoords) -> Coordinates:
    """AtlasPatch: rows of x, y, read width, read height, level; the rest stands on the file."""
    said = {**raw.file_attributes, **raw.attributes}
    size_px = _size(said["patch_size"])
    if said.get("level0_magnification") and said.get("target_magnification"):
        scale = _positive(said["level0_magnification"]) / _positive(said["target_magnification"])
        edge = max(1, round(size_px * scale))
    else:
        edge = _size(said["patch_size_level0"])
    return _coordinates(raw, "atlaspatch", (edge, edge), size_px, None, _slide_size(said))


def _from_stamp(raw: RawCoords, l0_mpp: float | None) -> Coordinates:
    said = raw.file_attributes
    if l0_mpp is None:
        raise ArtifactError(
            f"{raw.path}: its coordinates are microns: the slide's mpp is needed to place them"
        )
    mpp = _positive(l0_mpp)
    size_um = _positive(next((said[name] for name in STAMP_SIZE if name in said), None))
    size_px = _size(said["tile_size_px"]) if said.get("tile_size_px") else None
    edge = max(1, round(size_um / mpp))
    in_px = RawCoords(
        raw.path,
        np.rint(np.asarray(raw.coords, np.float64) / mpp),
        raw.attributes,
        said,
        raw.names,
    )
    return _coordinates(
        in_px, "stamp", (edge, edge), size_px, size_um / size_px if size_px else None, None
    )


def _coordinates(
    raw: RawCoords,
    dialect: str,
    l0_tile_size: Any,
    size_px: int | None,
    target_mpp: Any,
    l0_slide: Any,
) -> Coordinates:
    return Coordinates(
        slide_id=_slide_id(raw),
        l0_xy=_corners(raw),
        l0_tile_size=(_size(l0_tile_size[0]), _size(l0_tile_size[1])),
        size_px=size_px,
        target_mpp=None if target_mpp is None else _positive(target_mpp),
        dialect=dialect,
        l0_slide=None if l0_slide is None else (_size(l0_slide[0]), _size(l0_slide[1])),
    )


def _corners(raw: RawCoords) -> NDArray[np.int64]:
    """The first two columns as whole pixels. Raises ArtifactError where they are none."""
    coords = raw.coords
    if coords.size == 0:
        return np.zeros((0, 2), np.int64)
    if coords.ndim != 2 or coords.shape[1] not in (2, 5) or coords.dtype.kind not in "iuf":
        raise ArtifactError(
            f"{raw.path}: 'coords' is {coords.shape} of {coords.dtype}, expected (N, 2) of numbers"
        )
    corners = np.asarray(coords[:, :2])
    if corners.dtype.kind == "f" and not (np.isfinite(corners) & (corners % 1 == 0)).all():
        raise ArtifactError(f"{raw.path}: 'coords' holds values that are not whole pixels")
    if corners.min() < 0 or corners.max() > np.iinfo(np.int32).max:
        raise ArtifactError(f"{raw.path}: 'coords' holds values outside of any slide")
    return np.ascontiguousarray(corners, np.int64)


def _slide_id(raw: RawCoords) -> str:
    """The name the file gives, else the file's own."""
    name = raw.attributes.get("name")
    if isinstance(name, str) and name and "/" not in name:
        return name
    stem = raw.path.name
    return next((stem.removesuffix(s) for s in SUFFIXES if stem.endswith(s)), raw.path.stem)


def _slide_size(said: Mapping[str, Any]) -> Any:
    """(width, height) where both are said."""
    if said.get("level0_width") and said.get("level0_height"):
        return said["level0_width"], said["level0_height"]
    return None


def _only(found: list[Path], folder: Path, slide_id: str) -> Path:
    if len(found) > 1:
        shown = ", ".join(str(path.relative_to(folder)) for path in found[:4])
        raise ArtifactError(
            f"{folder}: {len(found)} files of coordinates for {slide_id} ({shown}). "
            "Give the folder of one of them"
        )
    return found[0]


def _size(value: Any) -> int:
    size = round(_positive(value))
    if size < 1:
        raise ValueError(f"{value!r} is not a size in pixels")
    return size


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < np.inf:
        raise ValueError(f"{value!r} is not a positive number")
    return number
