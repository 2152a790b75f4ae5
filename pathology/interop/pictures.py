"""Tiles as plain picture files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import cv2

from pathology.core.artifact import publish
from pathology.core.errors import ArtifactError
from pathology.core.output_place import require_only
from pathology.slides import jpeg
from pathology.tiling.store import TileStore

PictureFormat = Literal["jpg", "png"]
QUALITY = 95  # of JPEG made from a lossless store


def export_pictures(
    store: TileStore, slide_id: str, out: Path, picture_format: PictureFormat = "jpg"
) -> Path:
    """Write OUT/jpg/<slide_id>/<slide_id>_<x>_<y>.jpg, or the same with png; x, y of level 0.

    JPEG tiles of a JPEG store are written byte for byte. The folder appears when it is complete.
    Raises ArtifactError where the store holds no pixels.
    """
    if not store.has_pixels:
        raise ArtifactError(
            f"{store.path}: holds coordinates only: tile without --coords-only to export pictures"
        )
    folder = out / picture_format / slide_id
    ours = re.compile(rf"{re.escape(slide_id)}_\d+_\d+\.{picture_format}")
    require_only(folder, ours.fullmatch)
    with publish(folder) as scratch:
        scratch.mkdir()
        for row, (x, y) in enumerate(store.l0_xy.tolist()):
            name = f"{slide_id}_{x}_{y}.{picture_format}"
            try:
                (scratch / name).write_bytes(_picture(store, row, picture_format))
            except (ValueError, RuntimeError) as error:  # what the decoders raise
                raise ArtifactError(
                    f"{store.path}: tile {row} is damaged ({error}): tile the slide again"
                ) from error
    return folder


def _picture(store: TileStore, row: int, picture_format: PictureFormat) -> bytes:
    """One tile as the bytes of a picture file."""
    if picture_format == "jpg":
        stored = store.encoded(row)
        if stored.startswith(jpeg.SOI):
            return stored
        return jpeg.encode(store.read([row])[0], QUALITY, "444")
    done, data = cv2.imencode(".png", store.read([row])[0][..., ::-1])
    if not done:
        raise ArtifactError(f"{store.path}: tile {row} could not be written as PNG")
    return data.tobytes()
