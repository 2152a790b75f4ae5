"""Slides with labels and tiles: what a run or a folder of features and a manifest make together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pathology.core.artifact import content_digest
from pathology.core.errors import ArtifactError, ConfigError, PathologyError, reason_of
from pathology.core.manifest import SlideRecord, read_manifest
from pathology.core.table import first_of
from pathology.interop.h5_features import read_features
from pathology.models.card import ContractError, TileContract, differences
from pathology.stain.contract import stain_of
from pathology.tiling.store import open_tiles
from pipelines.feature_table import features_in, without_features
from pipelines.grade_order import order_of
from pipelines.run_stores import stores_of, without_stores

NO_PART = "are in no part of the split (train, val or test) and are left out"
MAX_TOLD = 3


@dataclass(frozen=True)
class TiledSlide:
    """A slide with tiles.

    path      its tile store, or its file of features
    tiles     what its tiles are
    digest    of what they were made from
    num_augmented  times that each tile's features are there varied, too
    """

    record: SlideRecord
    path: Path
    num_tiles: int
    tiles: TileContract
    digest: str
    num_augmented: int = 0


@dataclass(frozen=True)
class LabelledSlides:
    """Slides that can be trained on or graded, and a line for each thing that is amiss.

    kind     features or pixels
    grades   benign first; empty where no labels were asked for
    problems slides that cannot be used, and why; remarks are for the reader
    """

    kind: str
    slides: tuple[TiledSlide, ...]
    tiles: TileContract
    grades: tuple[str, ...]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def grade(self, slide: TiledSlide) -> int:
        """Grade of a slide, -1 where it has no label."""
        label = slide.record.label
        return self.grades.index(label) if label in self.grades else -1


def is_features(path: Path) -> bool:
    """Whether a path is a folder of features, or one such file."""
    return path.suffix == ".h5" or (path.is_dir() and any(path.glob("*.h5")))


def paths_of(path: Path) -> tuple[str, list[Path]]:
    """The kind of a run, a store or a folder of features, and its stores or files.

    Raises ArtifactError where the path is none of these.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file or folder. Give a tiling run or its features")
    if is_features(path):
        return "features", [path] if path.is_file() else features_in(path)
    return "pixels", stores_of(path)


def read_tiled(path: Path) -> tuple[str, list[TiledSlide], list[str]]:
    """Slides of what paths_of takes: kind, slides, problems."""
    kind, paths = paths_of(path)
    found: list[TiledSlide] = []
    problems = []
    taken: dict[str, str] = {}
    for file in paths:
        name = file.name.removesuffix(file.suffix)
        try:
            slide = _of_features(file) if kind == "features" else _of_store(file)
        except (PathologyError, OSError, KeyError) as fault:
            problems.append(f"{name}: {reason_of(fault)}")
            continue
        other = taken.setdefault(slide.record.slide_id, file.name)
        if other != file.name:
            problems.append(f"{name}: left out: {other} is of {slide.record.slide_id}, too")
        elif slide.num_tiles:
            found.append(slide)
        else:
            problems.append(f"{name}: it has no tiles")
    return kind, found, problems


def without_tiles(path: Path, kind: str) -> list[str]:
    """A line for each slide that a run could not tile, or encode, so that it does not vanish."""
    if path.suffix in (".h5", ".zarr"):
        return []
    if kind == "pixels":
        return [f"{row.slide_id}: {row.reason}" for row in without_stores(path)]
    return [f"{row.slide_id}: {row.reason or row.status}" for row in without_features(path)]


def num_slides(path: Path) -> int:
    """Slides of what paths_of takes, those that have no tiles among them."""
    kind, paths = paths_of(path)
    return len(paths) + len(without_tiles(path, kind))


def read_labelled(path: Path, labels: Path, grades: Sequence[str] = ()) -> LabelledSlides:
    """Slides of a path with the labels that a manifest gives them.

    grades  benign first; empty: by the usual order of their names, which a remark states
    Raises ConfigError for a label that is not among the grades, ContractError for tiles of
    several kinds, ArtifactError where no slide can be used.
    """
    kind, tiled, problems = read_tiled(path)
    if not tiled:
        said = "; ".join(problems[:MAX_TOLD]) or "it is empty"
        raise ArtifactError(f"{path}: none of its slides has tiles to learn from ({said})")
    manifest = read_manifest(labels, needs_slides=False)
    records = {slide.slide_id: slide for slide in manifest.slides}
    problems += [str(fault) for fault in manifest.rejected]
    remarks = list(manifest.remarks)
    known = [
        replace(s, record=records[s.record.slide_id]) for s in tiled if s.record.slide_id in records
    ]
    labelled = [slide for slide in known if slide.record.label]
    strangers = [s.record.slide_id for s in tiled if s.record.slide_id not in records]
    remark(remarks, strangers, f"have tiles but no row in {labels} and are left out")
    unlabelled = [s.record.slide_id for s in known if not s.record.label]
    remark(remarks, unlabelled, f"have no label in {labels} and are left out")
    there = {slide.record.slide_id for slide in tiled}
    untiled = [name for name, r in records.items() if r.label and name not in there]
    remark(problems, untiled, f"have a label but no tiles in {path}")
    if known and not labelled:
        raise ArtifactError(f"{labels}: none of the slides has a label. Fill its column label")
    if not labelled:
        raise ArtifactError(
            f"{path} and {labels} have no labelled slide in common. Slides are matched by "
            f"slide_id: {first_of([s.record.slide_id for s in tiled])} here, "
            f"{first_of(list(records))} there"
        )
    ordered, by_order = order_of([slide.record.label for slide in labelled], grades)
    if by_order:
        remarks.append(by_order)
    for slide in labelled:
        if slide.record.label not in ordered:
            raise ConfigError(
                f"{slide.record.slide_id}: its label {slide.record.label!r} is not among the "
                f"grades {', '.join(ordered)}. Add it at its place, benign first"
            )
    tiles = require_alike(labelled)
    return LabelledSlides(
        kind, tuple(labelled), tiles, tuple(ordered), tuple(problems), tuple(remarks)
    )


def require_alike(slides: Sequence[TiledSlide]) -> TileContract:
    """What the tiles of all slides are: what some do not say, others do.

    Raises ContractError where tiles of two slides differ in kind, naming both.
    """
    known = slides[0].tiles
    for number, slide in enumerate(slides[1:], start=1):
        if differences(known, slide.tiles):
            other = next(s for s in slides[:number] if differences(s.tiles, slide.tiles))
            wrong = differences(other.tiles, slide.tiles)
            raise ContractError(
                f"{slide.record.slide_id} is not as {other.record.slide_id}: {'; '.join(wrong)}. "
                "Make all tiles or features alike, or leave that slide out"
            )
        known = _completed(known, slide.tiles)
    return known


def _completed(known: TileContract, more: TileContract) -> TileContract:
    """What is known, and for the rest what more says; an encoder brings what goes with it."""
    names = ["size_px", "mpp", "weights", "num_features"]
    if not known.encoder:
        names += ["encoder", "encoder_px", "blocks_left", "map_shape"]
    said = {name: getattr(known, name) or getattr(more, name) for name in names}
    return known.model_copy(update=said)


def require_several_grades(found: LabelledSlides, slide_ids: Sequence[str], part: str) -> None:
    """Raise ConfigError where the slides of a part have one grade only."""
    chosen = set(slide_ids)
    grades = {s.record.label for s in found.slides if s.record.slide_id in chosen}
    if len(grades) < 2:
        said = f"all have one label ({next(iter(grades))})" if grades else "are none"
        raise ConfigError(
            f"the {part} slides {said}: there is nothing to tell apart. "
            f"Label slides of other grades, or move some to {part}"
        )


def _of_features(path: Path) -> TiledSlide:
    found = read_features(path)
    num_wrong = int(np.count_nonzero(~np.isfinite(found.features_NF).all(axis=1)))
    if num_wrong:
        raise ArtifactError(
            f"{num_wrong} of {len(found.features_NF)} tiles have features that are no numbers. "
            "Extract them again"
        )
    said = found.attributes
    blocks_left = _int(said.get("blocks_left")) or 0
    tiles = TileContract(
        size_px=_int(said.get("tile_size_px") or said.get("patch_size")),
        mpp=float(said["achieved_mpp"]) if said.get("achieved_mpp") else None,
        stain=str(said.get("stain", "raw")),
        encoder=found.encoder,
        weights=str(said.get("weights", "")),
        encoder_px=_int(said.get("encoder_px")),
        num_features=int(said["num_features"]) if blocks_left else found.features_NF.shape[1],
        blocks_left=blocks_left,
        map_shape=tuple(map(int, said["map_shape"])) if blocks_left else (),
    )
    record = SlideRecord(str(said.get("name") or found.slide_id), path)
    digest = str(said.get("features_fingerprint", "")) or content_digest(path)
    num_augmented = _int(said.get("num_augmented")) or 0
    return TiledSlide(record, path, len(found.features_NF), tiles, digest, num_augmented)


def _of_store(path: Path) -> TiledSlide:
    store = open_tiles(path)
    said = store.attributes
    if not store.has_pixels and len(store):
        raise ArtifactError("its store holds coordinates only: tile without --coords-only")
    achieved = said.get("plan", {}).get("achieved_mpp")
    tiles = TileContract(
        size_px=store.size_px,
        mpp=float(achieved[0]) if achieved else None,
        stain=stain_of(said),
    )
    record = SlideRecord(str(said.get("slide_id", path.stem)), path)
    return TiledSlide(record, path, len(store), tiles, str(said["fingerprint"]))


def _int(value: object) -> int | None:
    return int(float(str(value))) if value else None


def remark(lines: list[str], ids: Sequence[str], said: str) -> None:
    """Add a line on some slides, if there are any."""
    if ids:
        lines.append(f"{len(ids)} slides {said}: {first_of(ids)}")
