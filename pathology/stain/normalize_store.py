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

from pathology import __version__
from pathology.core.artifact import fingerprint, publish
from pathology.core.errors import ArtifactError, SlideError
from pathology.slides.jpeg import DamagedJpeg
from pathology.stain.config import StainConfig, is_classical
from pathology.stain.contract import RAW, StainMismatch, require_same_stain
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import SlideNormalizer, StainModel
from pathology.stain.outcome import StainOutcome
from pathology.stain.tile_renderer import TileRenderer
from pathology.tiling.config import StoreConfig
from pathology.tiling.outcome import DONE, EMPTY
from pathology.tiling.store import (
    TileStore,
    TileWriter,
    encode_tile,
    open_tiles,
    read_attributes,
)

STAIN_SCHEMA = 2
LEARNED_SCHEMA = 3  # before, their tiles were rendered without their neighbors
BLOCKS_A_THREAD = 4  # on their way at a time
MPP_TOLERANCE = 0.02
MAX_SAMPLE_PIXELS = 40_000_000  # 120 MB
DERIVED = ("stain_matrix",)  # columns that a change of colors makes untrue

Report = Callable[[int], None]  # told how many more tiles were done


class Restained(NamedTuple):
    """A tile as it is stored, and whether it passed through unchanged."""

    encoded: bytes
    is_passed: bool


def normalize_store(
    source: Path,
    target: Path,
    model: StainModel,
    config: StainConfig,
    *,
    threads: int = 1,
    report: Report = lambda num: None,
) -> StainOutcome:
    """Normalize one slide's store, or find that it is done already by the same recipe.

    Raises SlideError for a store that cannot be used, among them one that is normalized already
    or whose resolution is not the model's; OSError for a full disk. Leaves nothing half-written.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)  # the threads are ours
    slide_id = target.stem
    with _blaming(slide_id):
        store = open_tiles(source)
        name = restained_fingerprint(store.attributes, model, config)
        finished = _finished(target, name)
        if finished is not None:
            return finished
        require_usable(slide_id, store, model)
        normalizer = model.for_slide(sample_tiles(store, config), config)
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
                reason=_reason(model, normalizer, len(store), num_passed),
                num_tiles=len(store),
                num_passed_through=num_passed,
                store_bytes=writer.num_bytes,
                fingerprint=name,
                seconds=round(time.perf_counter() - start, 3),
                **normalizer.measured(),
            )
            attributes = _attributes(store, outcome, model, config)
            columns = {name: store.columns[name] for name in store.columns if name not in DERIVED}
            writer.finish(columns, attributes, has_pixels=True)
    return outcome


def sample_tiles(store: TileStore, config: StainConfig) -> Pixels:
    """Tiles (n, H, W, 3), evenly spaced over a store; fewer where they are large."""
    if not len(store):
        return np.zeros((0, store.size_px, store.size_px, 3), np.uint8)
    num = max(1, min(config.num_sample_tiles, MAX_SAMPLE_PIXELS // store.size_px**2))
    rows = np.unique(np.linspace(0, len(store) - 1, num).astype(np.int64))
    return store.read(rows)


def restained_fingerprint(
    attributes: dict[str, Any], model: StainModel, config: StainConfig
) -> str:
    """Name of the store that normalizing the store with these attributes makes."""
    inputs = {"tiles": str(attributes["fingerprint"]), "model": model.fingerprint}
    schema = STAIN_SCHEMA if is_classical(model.method) else LEARNED_SCHEMA
    return fingerprint("stained tiles", schema, config, inputs)


def require_usable(slide_id: str, store: TileStore, model: StainModel) -> None:
    """Raise SlideError for a store without pixels, of another resolution, or normalized."""
    if not store.has_pixels:
        raise SlideError(slide_id, "its store holds coordinates only", "Tile without --coords-only")
    mpp = float(store.attributes["config"]["tile"]["mpp"])
    if model.mpp is not None and abs(mpp / model.mpp - 1) > MPP_TOLERANCE:
        raise SlideError(
            slide_id,
            f"its tiles have {mpp:g} microns per pixel, the stain model was made for {model.mpp:g}",
            f"Tile with --set tile.mpp={model.mpp:g}, or use a model made for {mpp:g}",
        )
    try:
        require_same_stain(store.attributes, RAW)
    except StainMismatch as error:
        raise SlideError(
            slide_id, "its store is normalized already", "Give the tiling run"
        ) from error


def _restained_blocks(
    store: TileStore, normalizer: SlideNormalizer, threads: int
) -> Iterator[Sequence[Restained]]:
    """All tiles in order, a few blocks at a time so that memory stays bounded."""
    encoding, renderer = _encoding_of(store), TileRenderer(store, normalizer)

    def restain(rows: range) -> list[Restained]:
        found, row = [], rows.start
        for part in renderer.parts(rows):
            for tile, passed in zip(*part, strict=True):
                # one that passed keeps its own bytes: no second compression
                encoded = store.encoded(row) if passed else encode_tile(tile, encoding)
                found.append(Restained(encoded, bool(passed)))
                row += 1
        return found

    step = renderer.rows_at_once
    blocks = [range(first, min(first + step, len(store))) for first in range(0, len(store), step)]
    if threads <= 1:
        yield from map(restain, blocks)
        return
    at_once = BLOCKS_A_THREAD * threads
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(blocks), at_once):
            yield from pool.map(restain, blocks[first : first + at_once])


def _encoding_of(store: TileStore) -> StoreConfig:
    return StoreConfig.model_validate(store.attributes["config"]["store"])


def _attributes(
    store: TileStore, outcome: StainOutcome, model: StainModel, config: StainConfig
) -> dict[str, Any]:
    """What the source said, with the normalization added and the names that it changes."""
    said = store.attributes
    tiled = {
        **said.get("outcome", {}),
        "fingerprint": outcome.fingerprint,
        "store_bytes": outcome.store_bytes,
    }
    stain = {
        "method": model.method,
        "model_fingerprint": model.fingerprint,
        "source": model.source,
        "mpp": model.mpp,
        "config": config.model_dump(mode="json"),
        "tiles_fingerprint": said["fingerprint"],
        "num_normalized": outcome.num_tiles - outcome.num_passed_through,
        "num_passed_through": outcome.num_passed_through,
        "version": __version__,
        "outcome": outcome.row(),
    }
    return {**said, "fingerprint": outcome.fingerprint, "outcome": tiled, "stain": stain}


def _reason(model: StainModel, normalizer: SlideNormalizer, num_tiles: int, num_passed: int) -> str:
    if not num_tiles:
        return "the store holds no tiles"
    if normalizer.problem:
        return f"all tiles stay as they are: {normalizer.problem}"
    if model.method == "none":
        return "all tiles stay as they are, as the method none says"
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
