"""Public data sets: which there are, under which licence, and how to get their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import Field, model_validator

from pathology.core.config import StageConfig, load_config
from pathology.core.download import DownloadError, RemoteFile, download
from pathology.core.errors import ConfigError

PUBLIC = Path(__file__).parent.parent / "data_manifests" / "public.yaml"  # installed beside us
Report = Callable[[str, int, int | None], None]  # name of a file, bytes here, bytes in all


class PublicFile(StageConfig):
    """A file of a data set. What nobody has published is None."""

    name: str
    url: str
    size: int | None = Field(default=None, ge=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")

    def remote(self) -> RemoteFile:
        """The file as the downloader knows it; SHA-256 is checked before MD5."""
        checksum = f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}"
        return RemoteFile(
            self.name, self.url, self.size, checksum if self.sha256 or self.md5 else None
        )


class PublicDataset(StageConfig):
    """A public data set.

    license       SPDX name, or None where its makers state none
    files         what fetch gets; empty where it cannot be had by plain HTTP
    instructions  how to get all of it, or to get it by hand
    """

    title: str
    homepage: str
    license: str | None
    citation: str
    instructions: str = ""
    files: tuple[PublicFile, ...] = ()

    @property
    def size(self) -> int | None:
        """Bytes of all files, or None where one is unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes or not sizes else sum(size or 0 for size in sizes)

    @model_validator(mode="after")
    def _names_differ(self) -> PublicDataset:
        names = [file.name for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("two files have the same name")
        return self


class PublicCatalog(StageConfig):
    """All data sets by name, as public.yaml holds them."""

    datasets: dict[str, PublicDataset]


def list_public(path: Path = PUBLIC) -> dict[str, PublicDataset]:
    """The public data sets by name. Raises ConfigError where the list is damaged."""
    return load_config(PublicCatalog, path).datasets


def fetch_public(
    name: str,
    out: Path,
    only: Sequence[str] = (),
    report: Report = lambda file, done, total: None,
    path: Path = PUBLIC,
) -> list[Path]:
    """Fetch a data set's files into OUT/<name>/; what is there already is checked and kept.

    only    names of some of its files; none means all
    Raises ConfigError for an unknown name, DownloadError where a file cannot be had.
    """
    datasets = list_public(path)
    if name not in datasets:
        raise ConfigError(f"data set {name!r}: unknown; expected one of {', '.join(datasets)}")
    dataset = datasets[name]
    unknown = set(only) - {file.name for file in dataset.files}
    if unknown:
        known = ", ".join(file.name for file in dataset.files) or "none"
        raise ConfigError(f"{name}: no file {', '.join(sorted(unknown))}; it has {known}")
    if not dataset.files:
        how = " ".join(dataset.instructions.split())
        raise DownloadError(f"{name}: cannot be fetched from here. {how} See {dataset.homepage}")
    return [
        download(file.remote(), out / name, partial(report, file.name))
        for file in dataset.files
        if not only or file.name in only
    ]
