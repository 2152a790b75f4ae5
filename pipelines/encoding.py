"""Tile stores through an encoder: each slide's features become its file."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pathology import __version__
from pathology.core.artifact import fingerprint
from pathology.core.errors import PathologyError, reason_of
from pathology.data.ahead import ahead
from pathology.data.augment import augment
from pathology.interop.export_coords import our_attributes, trident_attributes
from pathology.interop.h5_features import read_attributes, write_features
from pathology.interop.tile_facts import TileFacts, facts_of_store
from pathology.models.encode import FirstPart, encode
from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.slides.jpeg import DamagedJpeg
from pathology.slides.reader import Pixels
from pathology.stain.contract import stain_of
from pathology.tiling.store import TileStore, open_tiles
from pipelines.feature_config import FeatureConfig, FeatureOptions
from pipelines.feature_table import FeatureOutcome
from pipelines.flat_pictures import IS_PICTURE, is_of_picture

SCHEMA = 1
FAULTS = (PathologyError, OSError, DamagedJpeg, KeyError, ValueError)  # of a store, or a disk
READ_TILES = 64  # a block that one thread decodes
AHEAD = 4  # blocks that wait for the encoder


@dataclass
class Slide:
    """A store on its way through the encoder."""

    path: Path
    store: TileStore | None = None
    facts: TileFacts | None = None
    blocks: list[NDArray[np.float32]] = field(default_factory=list)
    augmented: list[NDArray[np.float16]] = field(default_factory=list)  # blocks (K, n, F)
    problem: str = ""


class Encoding:
    """Blocks of tiles, decoded ahead across the borders of slides, through one encoder.

    plain           ids of slides that get no varied tiles
    read_seconds    that the encoder waited for tiles
    encode_seconds  that it worked
    """

    def __init__(
        self,
        encoder: Encoder | OnnxEncoder | FirstPart,
        config: FeatureConfig,
        options: FeatureOptions,
        out: Path,
        weights: str,
        plain: Collection[str] = (),
    ) -> None:
        self.encoder, self.config, self.options = encoder, config, options
        self.out, self.weights, self.plain = out, weights, plain
        self.read_seconds = self.encode_seconds = 0.0

    def run(
        self, paths: Sequence[Path], on_tiles: Callable[[int], None]
    ) -> Iterator[FeatureOutcome]:
        """The outcome of every store, in order."""
        start = waited = time.perf_counter()
        with ThreadPoolExecutor(self.options.threads) as pool:
            blocks = _blocks(map(self._open, paths))
            for slide, is_last, tiles in ahead(pool, _read, blocks, AHEAD):
                self.read_seconds += time.perf_counter() - waited
                if tiles is not None and not slide.problem:
                    self._encode(slide, tiles)
                    on_tiles(len(tiles))
                if is_last:
                    seconds = time.perf_counter() - start
                    start = time.perf_counter()
                    yield self._finish(slide, seconds)
                waited = time.perf_counter()

    def _open(self, path: Path) -> Slide:
        try:
            store = open_tiles(path)
            return Slide(path, store, facts_of_store(store), problem=self._kept(store))
        except FAULTS as fault:
            return Slide(path, problem=f"failed: {reason_of(fault)}")

    def _kept(self, store: TileStore) -> str:
        """Says so where the same features are there already, or there is nothing to encode."""
        if not len(store):
            return "empty: its store holds no tiles"
        name = str(store.attributes["slide_id"])
        said = read_attributes(self.out / f"{name}.h5").get("features_fingerprint")
        enough = {self._num_augmented(store), self.config.augmented}  # more than are needed will do
        return "kept: " if said in {self._name(store, num) for num in enough} else ""

    def _name(self, store: TileStore, num_augmented: int) -> str:
        inputs = {"tiles": str(store.attributes["fingerprint"]), "weights": self.weights}
        config = self.config.model_copy(update={"augmented": num_augmented})
        return fingerprint("features", SCHEMA, config, inputs)

    def _num_augmented(self, store: TileStore) -> int:
        is_plain = str(store.attributes["slide_id"]) in self.plain
        return 0 if is_plain else self.config.augmented

    def _encode(self, slide: Slide, tiles: Pixels) -> None:
        start = time.perf_counter()
        num = self._num_augmented(slide.store) if slide.store is not None else 0
        vary = [None, *(self._variation(slide, k) for k in range(num))]
        features, *augmented = [
            encode(
                self.encoder, tiles, device=self.options.device, size_px=self.config.size_px,
                is_bf16=self.config.precision == "bf16", block=self.options.block, vary=one,
            )
            for one in vary
        ]  # fmt: skip
        self.encode_seconds += time.perf_counter() - start
        with np.errstate(over="ignore"):
            varied = [np.stack(augmented).astype(np.float16)] if augmented else []
        if not (np.isfinite(features).all() and all(np.isfinite(v).all() for v in varied)):
            slide.problem = "failed: the encoder gave features that are no numbers"
            return
        slide.blocks.append(features)
        slide.augmented += varied

    def _variation(self, slide: Slide, number: int) -> Callable[[Tensor], Tensor]:
        """Varies images, a block of a slide in the same way at every run."""
        name = zlib.crc32(slide.path.name.encode())
        random = np.random.default_rng([name, sum(map(len, slide.blocks)), number])
        return lambda images: augment(images, random, self.config.augment)

    def _finish(self, slide: Slide, seconds: float) -> FeatureOutcome:
        slide_id = slide.facts.slide_id if slide.facts else slide.path.name.removesuffix(".zarr")
        num_tiles = len(slide.store) if slide.store is not None else 0
        if slide.problem or slide.store is None or slide.facts is None:
            status, _, reason = slide.problem.partition(": ")
            return FeatureOutcome(slide_id, status, num_tiles, 0.0, reason)
        num_augmented = self._num_augmented(slide.store)
        on_features: dict[str, Any] = {
            "encoder": self.config.encoder,
            "name": slide_id,
            "savetodir": str(self.out),
            "features_fingerprint": self._name(slide.store, num_augmented),
            "weights": self.weights,
            "encoder_px": self.config.size_px or 0,
            "num_augmented": num_augmented,
            "stain": stain_of(slide.store.attributes),
            "code_version": __version__,
        }
        if isinstance(self.encoder, FirstPart):
            of = self.encoder.encoder
            on_features |= {
                "blocks_left": self.config.blocks_left,
                "map_shape": list(of.map_shape),
                "num_features": of.num_features,
            }
        on_coords = {
            **trident_attributes(slide.facts, str(self.out)), **our_attributes(slide.facts),
            IS_PICTURE: is_of_picture(slide.store.attributes),
        }  # fmt: skip
        path = self.out / f"{slide_id}.h5"
        try:
            write_features(
                path, np.concatenate(slide.blocks), slide.facts.l0_xy, on_features, on_coords,
                np.concatenate(slide.augmented, axis=1) if slide.augmented else None,
                is_half=self.config.blocks_left > 0,
            )  # fmt: skip
        except OSError as fault:
            return FeatureOutcome(slide_id, "failed", num_tiles, 0.0, reason_of(fault))
        return FeatureOutcome(slide_id, "done", num_tiles, round(seconds, 3))


def weights_digest(encoder: Encoder) -> str:
    """Twelve hex digits of an encoder's weights and of the colors that it expects."""
    facts = (encoder.colors, encoder.size_px, encoder.pooling)
    if encoder.scaled_px != encoder.size_px:  # of which it sees the middle
        facts = (*facts, encoder.scaled_px)  # type: ignore[assignment]
    digest = hashlib.sha256(repr(facts).encode())
    for name, value in encoder.network.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


Block = tuple[Slide, bool, slice | None]  # a slide, whether its last block, and which rows


def _blocks(slides: Iterable[Slide]) -> Iterator[Block]:
    """Blocks of all slides in order; one without rows for a slide that is not encoded."""
    for slide in slides:
        num = 0 if slide.problem or slide.store is None else len(slide.store)
        if not num:
            yield slide, True, None
        for start in range(0, num, READ_TILES):
            end = min(start + READ_TILES, num)
            yield slide, end == num, slice(start, end)


def _read(block: Block) -> tuple[Slide, bool, Pixels | None]:
    """The pixels of a block; a fault costs its slide."""
    slide, is_last, rows = block
    if rows is None or slide.store is None:
        return slide, is_last, None
    try:
        return slide, is_last, slide.store.read(rows)
    except FAULTS as fault:
        slide.problem = f"failed: {reason_of(fault)}"
        return slide, is_last, None
