"""Tables of slides as files hold them: CSV, Parquet, or a folder that is its own table."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pathology.core.errors import ManifestError
from pathology.core.output_place import RUN_TABLE

SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide",
    ".dcm", ".czi", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".ome.tif", ".ome.tiff",
    ".ome.zarr",
)  # fmt: skip
UNREAD_SUFFIXES = (
    ".jp2", ".j2k", ".gif", ".vsi", ".isyntax", ".i2syntax", ".mds", ".mdsx", ".kfb", ".sdpc",
    ".tmap", ".zvi", ".lif", ".nd2", ".heic", ".avif", ".psd",
)  # fmt: skip
SHOWN = 5  # names in a line
MADE_BY_TILING = ("tiles", "overlays", "masks", "maps", "stain")  # beside RUN_TABLE
FIRST_CHARACTERS = 1 << 16  # of a table, which show how it is written
DOUBLE_SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.zarr")

Table = tuple[list[str], list[dict[str, str]]]


def slide_stem(name: str) -> str:
    """A file name without its last extension; TCGA's dots stay, .ome.tiff counts as one.

    >>> slide_stem("TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF.svs"), slide_stem("a.b.ome.tif")
    ('TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF', 'a.b')
    """
    lower = name.lower()
    for suffix in (*DOUBLE_SUFFIXES, *SLIDE_SUFFIXES):
        if lower.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def read_csv(path: Path) -> Table:
    """Column names and rows of a CSV file, comma, semicolon or tab between the cells."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: not a text file in UTF-8. Save it as CSV (UTF-8) or give a folder of slides"
        ) from error
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})") from error
    if "\0" in text:
        raise ManifestError(f"{path}: not a text file. Give a CSV, a Parquet file or a folder")
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter_of(text), strict=True)
    try:
        _refuse_twice(path, reader.fieldnames or [])
        rows = [_cells(path, reader.line_num, row) for row in reader]
    except csv.Error as error:
        is_open = "unexpected end" in str(error)
        said = "a quote is opened and never closed" if is_open else f"not CSV ({error})"
        raise ManifestError(f"{path}: line {reader.line_num}: {said}") from error
    return list(reader.fieldnames or []), [row for row in rows if any(row.values())]


def delimiter_of(text: str) -> str:
    """What stands between the cells of a table, by its first line: comma, semicolon or tab."""
    return max(",;\t", key=text.partition("\n")[0].count)


def _refuse_twice(path: Path, columns: Sequence[str]) -> None:
    names = [name.strip().lower() for name in columns if name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ManifestError(f"{path}: two columns are called {twice[0]!r}. Rename or remove one")


def _cells(path: Path, line: int, row: Mapping[str | None, Any]) -> dict[str, str]:
    """A row's cells by column; a comma that should be quoted would shift all that follow."""
    beyond = [cell for cell in row.get(None) or () if cell.strip()]
    if beyond:
        raise ManifestError(
            f"{path}: line {line} has more cells than the table has columns ({beyond[0]!r}). Put "
            "quotes around a cell that holds the separator"
        )
    return {name: (cell or "").strip() for name, cell in row.items() if name is not None}


def read_parquet(path: Path) -> Table:
    """Column names and rows of a Parquet file, each cell as text."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ManifestError(f"{path}: not a readable Parquet file ({error})") from error
    rows = [{k: _as_text(v) for k, v in row.items()} for row in table.to_pylist()]
    return list(table.column_names), rows


def _as_text(value: object) -> str:
    """A Parquet cell as a CSV would hold it; null and NaN are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows, the header among them, as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def rows_of_folder(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """One row for each slide below a folder; a folder of DICOM files is one slide."""
    paths = sorted(set(_slides_below(folder)))
    stems = [slide_stem(p.name).strip() for p in paths]
    twice = {stem for stem, num in Counter(stems).items() if num > 1}
    rows, remarks = [], []
    for path, stem in zip(paths, stems, strict=True):
        inside = path.relative_to(folder).as_posix()
        slide_id = inside.replace("/", "__") if stem in twice else stem
        rows.append({"slide_id": slide_id, "slide_path": inside})
    if twice:
        said = "file names that occur twice carry folder and ending in the id"
        remarks.append(f"{said}: {first_of(sorted(twice))}")
    unread = [p.name for p in files_below(folder) if p.suffix.lower() in UNREAD_SUFFIXES]
    if unread:
        said = "files of kinds that nobody here reads are left out; convert them to OME-TIFF"
        remarks.append(f"{said}: {first_of(sorted(unread))}")
    return rows, remarks


def first_of(names: Sequence[str]) -> str:
    """The first few names, for a line.

    >>> first_of(["a", "b"]), first_of("abcdefg"), first_of([])
    ('a, b', 'a, b, c, d, e and 2 more', 'none')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def first_lines(lines: Sequence[str], most: int) -> list[str]:
    """The first of many lines, and one that counts the others.

    >>> first_lines(["a", "b", "c"], 2), first_lines(["a"], 2)
    (['a', 'b', 'and 1 more'], ['a'])
    """
    num_more = len(lines) - most
    return [*lines[:most], *([f"and {num_more} more"] if num_more > 0 else [])]


def files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Files in a folder and in those below it, linked ones among them, hidden ones left out."""
    here = above | {folder.resolve()}
    for path in _entries(folder, here):
        if path.is_dir():
            yield from files_below(path, here)
        elif path.is_file():
            yield path


def _slides_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    here = above | {folder.resolve()}
    for path in _entries(folder, here):
        if path.is_dir() and not path.name.lower().endswith(".ome.zarr"):
            if any(child.suffix.lower() == ".dcm" for child in path.iterdir()):
                yield path
            else:
                yield from _slides_below(path, here)
        elif path.name.lower().endswith(SLIDE_SUFFIXES):
            yield path


def _entries(folder: Path, above: frozenset[Path]) -> list[Path]:
    """What a folder holds: nothing hidden, no links to folders above, nothing that tiling made."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    made = MADE_BY_TILING if any(path.name == RUN_TABLE for path in found) else ()
    found = [path for path in found if not (path.is_dir() and path.name in made)]
    return sorted(path for path in found if not (path.is_dir() and path.resolve() in above))


def dialect_of(path: Path) -> tuple[str, str]:
    """What stands between a table's cells and within its fractions: comma and dot, if not told.

    Spreadsheets of some countries write semicolons and 0,5.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        text = stream.read(FIRST_CHARACTERS)
    delimiter = delimiter_of(text)
    is_comma = delimiter != "," and re.search(rf"{delimiter}0,\d", text) is not None
    return delimiter, "," if is_comma else "."
