"""HDF5 in and out: a table of coordinates and its attributes. Nobody else imports h5py."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import publish
from pathology.core.errors import ArtifactError

COORDS = "coords"
CHUNK_ROWS = 16384  # one row a chunk, as others write, is slow to read
IN_MEMORY = 1 << 28  # bytes of a file that is made in memory first
SPARE = 1 << 20  # bytes that a file takes beside its arrays
DAMAGES = (OSError, KeyError, RuntimeError, ValueError, TypeError)  # what h5py raises on bad files

Attribute = str | int | float | tuple[int, int] | tuple[float, float]


@dataclass(frozen=True)
class RawCoords:
    """A coordinates file as it stands, before anyone says what its columns mean.

    coords      the data set of that name, any shape and type
    attributes  on the data set; file_attributes on the file; both as plain Python values
    names       everything the file holds at its top
    """

    path: Path
    coords: NDArray[Any]
    attributes: Mapping[str, Any]
    file_attributes: Mapping[str, Any]
    names: tuple[str, ...]


@contextmanager
def new_file(path: Path, num_bytes: int) -> Iterator[h5py.File]:
    """A file to fill, there whole or not at all.

    num_bytes  about how much will be put into it

    Raises OSError where the disk has no room. HDF5 itself would take the program with it: so small
    files are made in memory first, and for large ones the room is asked for.
    """
    with publish(path) as scratch:
        if num_bytes > IN_MEMORY:
            if shutil.disk_usage(path.parent).free < num_bytes + SPARE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            with h5py.File(scratch, "w") as file:
                yield file
            return
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            yield file
        scratch.write_bytes(stream.getbuffer())


def write_coords(path: Path, l0_xy: NDArray[np.int64], attributes: Mapping[str, Attribute]) -> Path:
    """Write corners (N, 2) and the attributes on them, whole or not at all.

    Rows may be appended later by tools that do so.
    """
    table = np.asarray(l0_xy, np.int64).reshape(-1, 2)
    rows = max(1, min(len(table), CHUNK_ROWS))
    with new_file(path, table.nbytes) as file:
        dataset = file.create_dataset(COORDS, data=table, maxshape=(None, 2), chunks=(rows, 2))
        for name, value in attributes.items():
            dataset.attrs[name] = value
    return path


def read_raw(path: Path) -> RawCoords:
    """All of a coordinates file. Raises ArtifactError where it is missing, cut short or another."""
    try:
        with h5py.File(path, "r") as file:
            dataset = file.get(COORDS)
            if not isinstance(dataset, h5py.Dataset):
                held = ", ".join(file) or "nothing"
                raise ArtifactError(
                    f"{path}: holds no data set 'coords' ({held}): not a file of coordinates"
                )
            return RawCoords(
                path=path,
                coords=np.asarray(dataset[...]),
                attributes=plain_attributes(dataset.attrs),
                file_attributes=plain_attributes(file.attrs),
                names=tuple(file),
            )
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file") from error
    except DAMAGES as error:
        raise ArtifactError(
            f"{path}: not a readable HDF5 file ({' '.join(str(error).split())}). Write it again"
        ) from error


def plain_attributes(attributes: h5py.AttributeManager) -> dict[str, Any]:
    """Attributes as plain Python values."""
    return {str(name): _plain_value(value) for name, value in attributes.items()}


def _plain_value(value: Any) -> Any:
    """A str, a number, a tuple of them, or None for an attribute without a value."""
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, np.ndarray):
        return tuple(_plain_value(item) for item in value.ravel().tolist())
    return value.item() if isinstance(value, np.generic) else value
