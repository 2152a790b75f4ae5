"""One tile store to another of the same shape, each tile re-rendered towards one style."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology import __version__
from pathology.core.artifact import fingerprint, publish
from pathology.core.errors import ArtifactError, SlideError
from pathology.slides.jpeg import DamagedJpeg
from pathology.stain.config import StainConfig
from pathology.stain.macenko import MacenkoNormalizer, StainReference
from pathology.stain.matrix import Pixels, angle_between
from pathology.stain.outcome import StainOutcome
from pathology.tiling.config import StoreConfig
from pathology.tiling.outcome import DONE, EMPTY
from pathology.tiling.store import (
    TileStore,
    TileWriter,
    encode_tile,
    open_tiles,
    read_attributes,
)

STAIN_SCHEMA = 1
TILES_AT_ONCE = 128

Report = Callable[[int], None]  # told how many more tiles were done


class Restained(NamedTuple):
    """A tile as it is stored, and whether it passed through unchanged."""

    encoded: bytes
    is_passed: bool


def normalize_store(
    source: Path,
    target: Path,
    reference: StainReference,
    config: StainConfig,
    *,
    threads: int = 1,
    report: Report = lambda num: None,
) -> StainOutcome:
    """Normalize one slide's store, or find that it is done already by the same recipe.

    Raises SlideError for a store that cannot be used, OSError for a full disk, and leaves
    nothing half-written.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)  # the threads are ours
    slide_id = target.stem
    with _blaming(slide_id):
        store = open_tiles(source)
        name = restained_fingerprint(store.attributes, reference, config)
        finished = _finished(target, name)
        if finished is not None:
            return finished
        if not store.has_pixels:
            raise SlideError(
                slide_id, "its store holds coordinates only", "Tile without --coords-only"
            )
        normalizer = MacenkoNormalizer.fit(sample_pixels(store, config), reference, config)
        with publish(target) as scratch:
            writer = TileWriter(scratch, store.size_px, _encoding_of(store))
            num_passed = 0
            for block in _restained_blocks(store, normalizer, threads):
                writer.add([tile.encoded for tile in block])
                num_passed += sum(tile.is_passed for tile in block)
                report(len(block))
            writer.flush()
            outcome = StainOutcome(
                slide_id=slide_id,
                status=DONE if len(store) else EMPTY,
                reason=_reason(normalizer, len(store), num_passed),
                num_tiles=len(store),
                num_passed_through=num_passed,
                store_bytes=writer.num_bytes,
                fingerprint=name,
                seconds=round(time.perf_counter() - start, 3),
                **_measured(normalizer),
            )
            attributes = _attributes(store, outcome, reference, config)
            writer.finish(store.columns, attributes, has_pixels=True)
    return outcome


def sample_pixels(store: TileStore, config: StainConfig) -> Pixels:
    """Pixels (n, 3) on an even grid over evenly spaced tiles of a store."""
    rows = np.unique(np.linspace(0, len(store) - 1, config.num_sample_tiles).astype(int))
    if not len(store):
        return np.zeros((0, 3), np.uint8)
    num_pixels = len(rows) * store.size_px**2
    step = max(1, int(np.ceil(np.sqrt(num_pixels / config.num_sample_pixels))))
    first = step // 2
    picked = [_read(store, row)[first::step, first::step].reshape(-1, 3) for row in rows.tolist()]
    return np.concatenate(picked)


def restained_fingerprint(
    attributes: dict[str, Any], reference: StainReference, config: StainConfig
) -> str:
    """Name of the store that normalizing the store with these attributes makes."""
    inputs = {"tiles": str(attributes["fingerprint"]), "reference": reference.fingerprint}
    return fingerprint("stained tiles", STAIN_SCHEMA, config, inputs)


def _restained_blocks(
    store: TileStore, normalizer: MacenkoNormalizer, threads: int
) -> Iterator[Sequence[Restained]]:
    """All tiles in order, a few at a time so that memory stays bounded."""
    encoding = _encoding_of(store)

    def restain(row: int) -> Restained:
        tiles, is_passed = normalizer.render(_read(store, row)[np.newaxis])
        if is_passed[0]:
            return Restained(store.encoded(row), True)  # its own bytes: no second compression
        return Restained(encode_tile(tiles[0], encoding), False)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for first in range(0, len(store), TILES_AT_ONCE):
            rows = range(first, min(first + TILES_AT_ONCE, len(store)))
            yield list(pool.map(restain, rows) if threads > 1 else map(restain, rows))


def _read(store: TileStore, row: int) -> Pixels:
    tile: Pixels = store.read([row])[0]
    return tile


def _encoding_of(store: TileStore) -> StoreConfig:
    return StoreConfig.model_validate(store.attributes["config"]["store"])


def _attributes(
    store: TileStore, outcome: StainOutcome, reference: StainReference, config: StainConfig
) -> dict[str, Any]:
    """What the source said, with the normalization added and the names that it changes."""
    said = store.attributes
    tiled = {
        **said.get("outcome", {}),
        "fingerprint": outcome.fingerprint,
        "store_bytes": outcome.store_bytes,
    }
    stain = {
        "method": config.method,
        "config": config.model_dump(mode="json"),
        "reference": reference.model_dump(mode="json"),
        "reference_fingerprint": reference.fingerprint,
        "tiles_fingerprint": said["fingerprint"],
        "num_normalized": outcome.num_tiles - outcome.num_passed_through,
        "num_passed_through": outcome.num_passed_through,
        "version": __version__,
        "outcome": outcome.row(),
    }
    return {**said, "fingerprint": outcome.fingerprint, "outcome": tiled, "stain": stain}


def _measured(normalizer: MacenkoNormalizer) -> dict[str, Any]:
    """The columns that describe the slide's own staining."""
    own = normalizer.own
    if own is None:
        return {}
    reference = normalizer.reference.stains.matrix
    return {
        "hematoxylin": _text(own.matrix[0]),
        "eosin": _text(own.matrix[1]),
        "h_shift": round(angle_between(own.matrix[0], reference[0]), 2),
        "e_shift": round(angle_between(own.matrix[1], reference[1]), 2),
        "h_gain": round(float(normalizer.gain[0]), 3),
        "e_gain": round(float(normalizer.gain[1]), 3),
        "white_level": " ".join(f"{level:.0f}" for level in own.white_level),
    }


def _text(vector: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.4f}" for value in vector)


def _reason(normalizer: MacenkoNormalizer, num_tiles: int, num_passed: int) -> str:
    if not num_tiles:
        return "the store holds no tiles"
    if normalizer.own is None:
        return f"all tiles stay as they are: {normalizer.problem}"
    return f"{num_passed} tiles without stain stay as they are" if num_passed else ""


def _finished(path: Path, name: str) -> StainOutcome | None:
    """The outcome that a complete store of the same recipe recorded, or None."""
    try:
        attributes = read_attributes(path)
    except ArtifactError:
        return None
    if attributes.get("fingerprint") != name:
        return None
    outcome = StainOutcome.of_row(attributes["stain"]["outcome"])
    return replace(outcome, reason=outcome.reason or "already complete", seconds=0.0)


@contextmanager
def _blaming(slide_id: str) -> Iterator[None]:
    """Turn what a damaged store raises into a fault of its slide."""
    try:
        yield
    except ArtifactError as error:
        raise SlideError(slide_id, str(error), "Tile the slide again") from error
    except (DamagedJpeg, KeyError) as error:
        raise SlideError(slide_id, f"its store is damaged ({error})", "Tile it again") from error
