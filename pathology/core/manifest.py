"""Manifests: one row a slide, from CSV, Parquet or a folder, in anyone's dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from pathology.core.errors import ManifestError, SlideError
from pathology.core.table import (
    SLIDE_SUFFIXES,
    read_csv,
    read_parquet,
    rows_of_folder,
    slide_stem,
)

# our column -> other tools' names for it, most specific first
ALIASES: dict[str, tuple[str, ...]] = {
    "slide_id": (
        "sample_id",
        "slide",
        "wsi",
        "filename",
        "image_id",
    ),  # hs2p, Slideflow, TRIDENT, STAMP
    "slide_path": ("image_path", "wsi", "path", "file"),  # hs2p, TRIDENT and AtlasPatch
    "case_id": ("patient_id", "patient"),  # hs2p, Slideflow and STAMP
    "label": ("ground_truth_label", "category"),  # STAMP
    "mpp": ("spacing_at_level_0", "slide_mpp"),  # hs2p
    "centre": ("center", "site"),  # Slideflow
    "split": ("dataset",),  # Slideflow
    "mask_path": ("annotation_mask_path",),
}
DOMAINS = ("wsi", "microscope")
PARTS = {  # of a split, and their other names
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "tune", "tuning", "dev"),
    "test": ("test", "testing"),
}
NOT_SAID = ("nan", "null", "n/a", "#n/a", "<na>")  # in any column; in mpp these, too:
NO_NUMBER = ("none", "na")
MAX_ID_LENGTH = 200
DECIMAL_COMMA = re.compile(r"\d+,\d+")  # as spreadsheets of some countries write 0.25


@dataclass(frozen=True)
class SlideRecord:
    """What a manifest says of one slide. Empty text means: not said.

    mpp      level-0 microns per pixel that overrides what the file says, or None
    domain   "wsi" for a scanned slide, "microscope" for a still from a camera
    extra    columns this project does not know, kept as they are
    """

    slide_id: str
    slide_path: Path
    case_id: str = ""
    label: str = ""
    mpp: float | None = None
    centre: str = ""
    scanner: str = ""
    stain: str = ""
    domain: str = "wsi"
    split: str = ""
    mask_path: Path | None = None
    sha256: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """Usable rows, rows that cannot be used (each with its reason), and remarks for the reader.

    slide_ids  of all rows, usable or not, in the order of the table
    """

    slides: tuple[SlideRecord, ...]
    rejected: tuple[SlideError, ...]
    slide_ids: tuple[str, ...]
    remarks: tuple[str, ...] = ()


KNOWN = tuple(f.name for f in fields(SlideRecord) if f.name != "extra")


def read_manifest(
    path: Path,
    data_root: Path | None = None,
    *,
    is_tcga: bool = False,
    needs_slides: bool = True,
) -> Manifest:
    """Slides of a CSV file, a Parquet file or a folder of slides.

    data_root  folder that relative paths start from; default: where the manifest lies
    is_tcga    fill case_id and centre from TCGA barcodes where they are empty
    needs_slides  whether a row without slide_path must find its slide by its id; what is said of
                  slides by a table of labels needs none
    Raises ManifestError where the whole cannot be trusted: no such file, no slide column, an id
    twice, a case in two splits. A row that is wrong by itself is returned under rejected.
    """
    if not path.exists():
        raise ManifestError(f"{path}: no such file or folder. Give a CSV, a Parquet or a folder")
    if path.is_dir():
        rows, remarks = rows_of_folder(path)
        names = {"slide_id": "slide_id", "slide_path": "slide_path"}
    else:
        columns, rows = read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)
        names, remarks = match_columns(columns)
        if "slide_id" not in names and "slide_path" not in names:
            raise ManifestError(
                f"{path}: no column slide_id or slide_path; it has {', '.join(columns) or 'none'}. "
                "See data_manifests/README.md for the columns and their aliases"
            )
    root = data_root or (path if path.is_dir() else path.parent)
    slides, rejected, slide_ids = [], [], []
    for number, row in enumerate(rows, start=1):
        try:
            slides.append(_record(row, names, root, number, needs_slides))
            slide_ids.append(slides[-1].slide_id)
        except SlideError as fault:
            rejected.append(fault)
            slide_ids.append(fault.slide_id)
    if is_tcga:
        slides = [with_tcga_barcode(slide) for slide in slides]
    _refuse_duplicates(path, slide_ids)
    _refuse_leakage(path, slides)
    if not slides and not rejected:
        raise ManifestError(f"{path}: no slides found. {_what_was_expected(path)}")
    return Manifest(tuple(slides), tuple(rejected), tuple(slide_ids), tuple(remarks))


def match_columns(columns: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Which column of a table carries which of ours, and a remark for each alias used.

    >>> match_columns(["sample_id", "image_path", "spacing_at_level_0"])[0]["mpp"]
    'spacing_at_level_0'
    """
    by_lower = {name.strip().lower(): name for name in columns}
    names, remarks = {}, []
    for ours in KNOWN:
        if ours in by_lower:
            names[ours] = by_lower[ours]
            continue
        alias = next((by_lower[a] for a in ALIASES.get(ours, ()) if a in by_lower), None)
        if alias is not None:
            names[ours] = alias
            remarks.append(f"column {alias!r} is read as {ours}")
    return names, remarks


def with_tcga_barcode(slide: SlideRecord) -> SlideRecord:
    """The record with case_id (12 characters) and centre (tissue source site) from its barcode."""
    if not re.match(r"TCGA-\w\w-\w{4}", slide.slide_id):
        return slide
    return replace(
        slide,
        case_id=slide.case_id or slide.slide_id[:12],
        centre=slide.centre or slide.slide_id[5:7],
    )


def _record(
    row: Mapping[str, str], names: Mapping[str, str], root: Path, number: int, needs_slides: bool
) -> SlideRecord:
    said = {ours: _said(row.get(theirs, "")) for ours, theirs in names.items()}
    slide_id = _slide_id(said, names) or f"row {number}"
    if not _is_safe_id(slide_id):
        shown = slide_id if len(slide_id) <= 80 else f"{slide_id[:60]}... in row {number}"
        raise SlideError(
            shown,
            f"row {number}: the id {slide_id[:80]!r} cannot be a file name",
            "Use letters, digits, dots, dashes and underscores",
        )
    used = set(names.values())
    domain = said.get("domain", "").lower() or "wsi"
    if domain not in DOMAINS:
        raise SlideError(slide_id, f"domain is {domain!r}", f"Use one of {', '.join(DOMAINS)}")
    return SlideRecord(
        slide_id=slide_id,
        slide_path=_find_slide(said, slide_id, root, needs_slides),
        case_id=said.get("case_id", ""),
        label=said.get("label", ""),
        mpp=_number(said.get("mpp", ""), slide_id),
        centre=said.get("centre", ""),
        scanner=said.get("scanner", ""),
        stain=said.get("stain", ""),
        domain=domain,
        split=_part(said.get("split", "")),
        mask_path=root / said["mask_path"] if said.get("mask_path") else None,
        sha256=said.get("sha256", "").lower(),
        extra={k: v for k, v in row.items() if k not in used},
    )


def _said(cell: str) -> str:
    """What a cell says: nothing where it holds a program's word for nothing."""
    return "" if cell.lower() in NOT_SAID else cell


def _part(name: str) -> str:
    """Train, val or test by any usual name of theirs; other names as they are."""
    return next((part for part, names in PARTS.items() if name.lower() in names), name)


def _slide_id(said: Mapping[str, str], names: Mapping[str, str]) -> str:
    """The id as given; where it is a path in another tool's dialect, the stem of that path."""
    given = said.get("slide_id", "") or said.get("slide_path", "")
    if names.get("slide_id") == "slide_id" and said.get("slide_id"):
        return given
    return slide_stem(Path(given).name.removesuffix(".h5"))


def _find_slide(said: Mapping[str, str], slide_id: str, root: Path, is_needed: bool) -> Path:
    """The slide's path; where the table has only an id, the file of that name below the root."""
    if said.get("slide_path"):
        return root / Path(said["slide_path"]).expanduser()
    candidates = [root / slide_id, *(root / f"{slide_id}{s}" for s in SLIDE_SUFFIXES)]
    found = next((path for path in candidates if path.exists()), None)
    if found is None and not is_needed:
        return root / slide_id
    if found is None:
        raise SlideError(
            slide_id,
            f"the manifest gives no slide_path and {root} holds no file of this name",
            "Add a slide_path column or point --data-root at the folder of slides",
        )
    return found


def _number(text: str, slide_id: str) -> float | None:
    if not text or text.lower() in NO_NUMBER:
        return None
    try:
        return float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        raise SlideError(
            slide_id, f"mpp in the manifest is {text!r}", "Give microns per pixel, e.g. 0.25"
        ) from None


def _is_safe_id(slide_id: str) -> bool:
    return (
        0 < len(slide_id.encode()) <= MAX_ID_LENGTH
        and not slide_id.startswith(".")
        and not any(c in '/\\:*?"<>|' or ord(c) < 32 for c in slide_id)
    )


def _refuse_duplicates(path: Path, ids: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for number, slide_id in enumerate(ids, start=1):
        if slide_id in first:
            raise ManifestError(
                f"{path}: slide_id {slide_id!r} stands in rows {first[slide_id]} and {number}. "
                "Each slide needs an id of its own"
            )
        first[slide_id] = number


def _refuse_leakage(path: Path, slides: Sequence[SlideRecord]) -> None:
    splits: dict[str, str] = {}
    for slide in slides:
        if slide.case_id and slide.split:
            other = splits.setdefault(slide.case_id, slide.split)
            if other != slide.split:
                raise ManifestError(
                    f"{path}: case {slide.case_id!r} is in the splits {other!r} and "
                    f"{slide.split!r}. Put all slides of a case into one split"
                )


def _what_was_expected(path: Path) -> str:
    if path.is_dir():
        return f"Looked for {', '.join(SLIDE_SUFFIXES)} and folders of DICOM files"
    return "The table has a header and no rows"
