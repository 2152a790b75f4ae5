"""Where results may be written: never over what a command reads, nor among what is not theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pathology.core.errors import ArtifactError

RUN_TABLE = "process_list.csv"  # of a tiling run
RUN_FILES = (RUN_TABLE, "stain.csv", "run.json")  # which later commands read
ZIP = b"PK"  # how the files of models begin
MADE = (".json", ".pt", ".csv", ".parquet")  # models and tables, which a command writes anew


def require_file_place(final: Path, *inputs: Path | None) -> None:
    """Raise ArtifactError where a file of this name would replace a folder, or one of the inputs.

    inputs  files, and folders whose pictures, slides, features and run tables are read
    For commands that write one file, to ask before they do any work.
    """
    if final.is_dir():
        raise ArtifactError(f"{final}: a folder. Give the name of a file, e.g. in this folder")
    for one in inputs:
        if one is not None and final.exists() and final.resolve() == one.resolve():
            raise ArtifactError(f"{final}: read by this command, too. Give its output another name")
        if one is not None and one.is_dir() and _is_member(final, one):
            raise ArtifactError(f"{final}: belongs to {one}. Give the output another name")


def require_model_place(final: Path, *inputs: Path | None) -> None:
    """The same for a model, which replaces no file but an earlier model."""
    require_file_place(final, *inputs)
    if final.is_file():
        with final.open("rb") as stream:
            if stream.read(2) != ZIP:
                raise ArtifactError(f"{final}: lies there and is no model. Give another name")


def _is_member(final: Path, folder: Path) -> bool:
    """Whether it is a file of a folder, and no model or table that a command was told to write."""
    if not final.exists() or not final.resolve().is_relative_to(folder.resolve()):
        return False
    return final.suffix.lower() not in MADE or final.name in RUN_FILES


def require_folder_place(out: Path) -> None:
    """Raise ArtifactError where results of their own kind would be written into a tiling run, or
    into a tile store.
    """
    if out.is_file():
        raise ArtifactError(f"{out}: a file. Give the name of a folder")
    if (out / RUN_TABLE).is_file():
        raise ArtifactError(
            f"{out}: a tiling run, whose files would be replaced. Give --out another folder, "
            f"e.g. {out / 'made'}"
        )
    require_no_store(out)


def require_own(out: Path, record: str, names: Sequence[str]) -> None:
    """Raise ArtifactError where files of such names lie in a folder that no such command has made.

    record  the file by which its folders are known
    """
    for name in () if (out / record).exists() else names:
        if (out / name).exists():
            raise ArtifactError(
                f"{out}: {name} lies there and would be replaced. Give --out another folder"
            )


def require_no_store(out: Path) -> None:
    """Raise ArtifactError for a place inside of a tile store."""
    for folder in (out.resolve(), *out.resolve().parents):
        if folder.suffix == ".zarr" and (folder / "zarr.json").is_file():
            raise ArtifactError(
                f"{out}: inside of the tile store {folder.name}. Give another folder"
            )


def require_only(folder: Path, is_ours: Callable[[str], object]) -> None:
    """Raise ArtifactError where a folder that is to be replaced holds a file of another's.

    is_ours  of the name of a file: whether an export writes such
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not is_ours(path.name):
            raise ArtifactError(
                f"{folder}: {path.name} lies there and would be lost. Give --out another folder"
            )


def run_folder(model: Path) -> Path:
    """Where what belongs to the training of a model lies, beside it.

    >>> run_folder(Path("a/grades.pt")), run_folder(Path("grades.v2"))
    (PosixPath('a/grades.run'), PosixPath('grades.v2.run'))
    """
    return beside_model(model, ".run")


def beside_model(model: Path, ending: str) -> Path:
    """What belongs to a model, named after all of its name but .pt."""
    return model.with_name(model.name.removesuffix(".pt") + ending)
