"""Features of a slide's tiles in HDF5, as TRIDENT and CLAM write and read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.interop.h5_coords import COORDS, DAMAGES, Attribute, new_file, plain_attributes

FEATURES, STAMP_FEATURES, AUGMENTED = "features", "feats", "features_augmented"
CHUNK_BYTES = 1 << 20  # one row a chunk, as others write, is slow to read


@dataclass(frozen=True)
class SlideFeatures:
    """Features (N, F) of a slide's tiles, and where the tiles lie.

    l0_xy       (N, 2) level-0 corners, or None where the file does not say
    encoder     name of what made them, or "" where the file does not say
    attributes  of the features, the corners and the file, in this order of preference
    """

    path: Path
    features_NF: NDArray[np.float32]
    l0_xy: NDArray[np.int64] | None
    encoder: str
    attributes: Mapping[str, Any]

    @property
    def slide_id(self) -> str:
        """Name of the file, without its suffix."""
        return self.path.name.removesuffix(".h5")


def write_features(
    path: Path,
    features_NF: NDArray[np.float32],
    l0_xy: NDArray[np.int64],
    on_features: Mapping[str, Attribute],
    on_coords: Mapping[str, Attribute],
    augmented_KNF: NDArray[np.floating] | None = None,
    *,
    is_half: bool = False,
) -> Path:
    """Write features and corners with the attributes on each, whole or not at all.

    augmented_KNF  features of the same tiles varied K times, kept in half precision
    is_half        whether all are
    """
    table = np.asarray(features_NF, np.float16 if is_half else np.float32)
    rows = max(1, min(len(table), CHUNK_BYTES // max(1, table[:1].nbytes)))
    num_bytes = table.nbytes + (0 if augmented_KNF is None else 2 * augmented_KNF.size)
    with new_file(path, num_bytes) as file:
        found = file.create_dataset(
            FEATURES, data=table, maxshape=(None, table.shape[1]), chunks=(rows, table.shape[1])
        )
        corners = file.create_dataset(COORDS, data=np.asarray(l0_xy, np.int64).reshape(-1, 2))
        if augmented_KNF is not None:
            file.create_dataset(AUGMENTED, data=np.asarray(augmented_KNF, np.float16))
        for dataset, attributes in ((found, on_features), (corners, on_coords)):
            for name, value in attributes.items():
                dataset.attrs[name] = value
    return path


def read_features(path: Path) -> SlideFeatures:
    """Features of a file of ours, of TRIDENT, CLAM or STAMP.

    Raises ArtifactError where it is missing, cut short, or holds no features of tiles.
    """
    with _opened(path, "not a readable file of features") as file:
        return _read(path, file)


def read_rows(path: Path, rows: slice) -> NDArray[np.float32]:
    """Features (n, F) of some tiles of a file of ours. Raises ArtifactError as read_features."""
    with _opened(path, "not a readable file of features") as file:
        return np.asarray(_dataset(path, file)[rows], np.float32)


def read_corners(path: Path) -> tuple[NDArray[np.int64] | None, dict[str, Any]]:
    """Corners and attributes as in SlideFeatures, without reading the features.

    Raises ArtifactError where the file is missing or cut short.
    """
    with _opened(path, "not a readable file of features") as file:
        attributes = _attributes(file, _dataset(path, file))
        return _corners(file, attributes), attributes


def read_augmented(path: Path) -> NDArray[np.float16]:
    """Features (K, N, F) of the tiles varied K times. Raises ArtifactError where there are none."""
    with _opened(path, "no readable features of augmented tiles") as file:
        return np.asarray(file[AUGMENTED][...], np.float16)


def read_attributes(path: Path) -> dict[str, Any]:
    """What a file of features says of itself, without reading them; empty where it cannot."""
    try:
        with h5py.File(path, "r") as file:
            return _attributes(file, file[FEATURES])
    except DAMAGES:
        return {}


@contextmanager
def _opened(path: Path, complaint: str) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file") from error
    except DAMAGES as error:
        said = " ".join(str(error).split())
        raise ArtifactError(f"{path}: {complaint} ({said})") from error


def _dataset(path: Path, file: h5py.File) -> h5py.Dataset:
    dataset = file.get(FEATURES, file.get(STAMP_FEATURES))
    if not isinstance(dataset, h5py.Dataset):
        held = ", ".join(file) or "nothing"
        raise ArtifactError(f"{path}: holds no data set 'features' ({held})")
    return dataset


def _read(path: Path, file: h5py.File) -> SlideFeatures:
    dataset = _dataset(path, file)
    features = np.asarray(dataset[...], np.float32)
    if features.ndim == 3 and len(features) == 1:  # a batch of one, as some tools keep it
        features = features[0]
    if features.ndim != 2:
        raise ArtifactError(f"{path}: features of shape {features.shape}; expected one row a tile")
    attributes = _attributes(file, dataset)
    l0_xy = _corners(file, attributes)
    if l0_xy is not None and len(l0_xy) != len(features):
        raise ArtifactError(f"{path}: {len(features)} features but {len(l0_xy)} corners")
    encoder = str(attributes.get("encoder") or attributes.get("extractor") or "")
    return SlideFeatures(path, features, l0_xy, encoder, attributes)


def _corners(file: h5py.File, attributes: Mapping[str, Any]) -> NDArray[np.int64] | None:
    """Corners in level-0 pixels; STAMP's are in microns and cannot be placed without an mpp."""
    dataset = file.get(COORDS)
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim < 2:
        return None
    corners = np.asarray(dataset[...]).reshape(-1, dataset.shape[-1])[:, :2]
    if attributes.get("unit") == "um":
        return None
    return np.asarray(np.rint(corners), np.int64)


def _attributes(file: h5py.File, dataset: Any) -> dict[str, Any]:
    said = plain_attributes(file.attrs)
    if isinstance(file.get(COORDS), h5py.Dataset):
        said |= plain_attributes(file[COORDS].attrs)
    return said | plain_attributes(dataset.attrs)
