"""Both domains of an adaptation as they are learned from, checked and split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ConfigError
from pathology.core.manifest import SlideRecord
from pathology.data.splits import some_cases, split_of_manifest
from pathology.models.card import TileContract
from pathology.models.encode import prepare
from pathology.models.encoder import Encoder, make_encoder
from pathology.stain.contract import StainMismatch
from pathology.training.fabric import Precision, device_of
from pipelines.adapt_inputs import (
    DomainTiles,
    Say,
    class_numbers,
    classes_of,
    labels_of,
    read_domain,
    sampling_of,
)
from pipelines.adapt_start import Start, read_start
from pipelines.adapt_tiles import FeatureSink, FileSink, TileSink
from pipelines.features import weights_digest
from pipelines.input_kinds import TileInput
from pipelines.tile_labels import read_tile_labels
from pipelines.tile_samples import Sampling, SlideTiles, iter_samples

VAL_SHARE = 0.2
BLOCK = 1024  # tiles that a digest is taken of at once


@dataclass(frozen=True)
class AdaptOptions:
    """How an adaptation is run; nothing here is a setting of the model.

    precision   of training on pixels
    labels, target_labels  manifests with labels, where source and target are none themselves; the
                target's are for figures alone, or for the oracle
    mpp         microns per pixel that the source's tiles are cut at; None: as they come
    target_mpp  of pictures of the target that state none
    weights     a file of the encoder's
    start       a model whose weights training starts from
    tile_labels a table of predictions, which label the source's tiles in the place of their slides
    """

    device: str = "auto"
    precision: Precision = "32"
    labels: Path | None = None
    target_labels: Path | None = None
    mpp: float | None = None
    target_mpp: float | None = None
    weights: Path | None = None
    start: Path | None = None
    tile_labels: Path | None = None


@dataclass(frozen=True, eq=False)
class Domains:
    """What is learned from: the source in two parts, and the target.

    classes   benign first
    tiles     what the tiles are, and the encoder of their features
    names     of source and target, for the reader
    encoder   whose weights are saved with the model: it learns, or comes from another model's file
    start     a model to start from
    case_S    cases of the target's slides
    again     the tiles of some of the target's slides, read once more; None: that cannot be
    """

    train: DomainTiles
    val: DomainTiles
    target: DomainTiles
    classes: tuple[str, ...]
    tiles: TileContract
    names: tuple[str, str]
    encoder: Encoder | None
    start: Start | None
    case_S: tuple[str, ...]
    again: Callable[[Sequence[str]], Iterator[SlideTiles]] | None = None

    @property
    def parts(self) -> dict[str, DomainTiles]:
        """The three by name."""
        return {"train": self.train, "val": self.val, "target": self.target}

    @cached_property
    def digest(self) -> str:
        """Digest of all features or pixels, and of the labels of the source."""
        digest = hashlib.sha256()
        for part in self.parts.values():
            for start in range(0, len(part), BLOCK):
                digest.update(part.read(slice(start, start + BLOCK)).tobytes())
            digest.update(part.slide_N.tobytes())
        for part in (self.train, self.val):
            digest.update((part.label_S if part.tile_label_N is None else part.label_N).tobytes())
        return digest.hexdigest()[:12]

    def taught(self, config: AdaptConfig) -> NDArray[np.bool_]:
        """Which tiles of the target have labels that are learned from: by the oracle alone."""
        if not config.is_supervised:
            return np.zeros(len(self.target), np.bool_)
        label_S, share = self.target.label_S, config.target_share
        return some_cases(self.case_S, label_S, share, config.seed)[self.target.slide_N]

    def remove_files(self) -> None:
        """Remove the pixels that were kept to be trained on."""
        for part in (self.train, self.target):
            if isinstance(part.values, np.memmap) and part.values.filename:
                Path(part.values.filename).unlink(missing_ok=True)


def read_domains(
    source: TileInput,
    target: TileInput,
    config: AdaptConfig,
    options: AdaptOptions,
    folder: Path,
    *,
    on_slide: Callable[[], None] = lambda: None,
    say: Say = lambda line: None,
) -> Domains:
    """Tiles of both sides; the source's cases in two parts, one of which only judges.

    folder  where pixels lie while they are trained on; features are kept in memory

    Slides of the source that its manifest marks test are left out, those marked val judge.
    Labels are checked before any tile is read. Raises ConfigError where they do not do, and
    StainMismatch where the two sides are normalized otherwise.
    """
    known, hidden = labels_of(source, options.labels), labels_of(target, options.target_labels)
    start = None if options.start is None else read_start(options.start)
    if start is not None and not config.classes:
        config = config.model_copy(update={"classes": start.card.grades})
    classes = classes_of(known, config, say)
    class_of, hidden_class_of = (class_numbers(r, classes, config) for r in (known, hidden))
    encoder = _encoder(config, options, start, classes)
    weights = weights_digest(encoder)
    sinks = _sinks(config, encoder, device_of(options.device), folder)
    tile_labels = None
    if options.tile_labels is not None:
        tile_labels = read_tile_labels(
            options.tile_labels, classes, config.class_map, class_of, config.label_confidence
        )
    labelled = read_domain(
        source, class_of, config, sinks[0], mpp=options.mpp, is_labelled=True,
        tile_labels=tile_labels, say=say, on_slide=on_slide,
    )  # fmt: skip
    unlabelled = read_domain(
        target, hidden_class_of, config, sinks[1], mpp=labelled.mpp,
        assume_mpp=options.target_mpp, is_labelled=config.is_supervised, say=say,
        on_slide=on_slide,
    )  # fmt: skip
    if labelled.stain != unlabelled.stain:
        raise StainMismatch(
            f"{source.path}: stain is {labelled.stain}; {target.path}: {unlabelled.stain}. "
            "Normalize both with one model, or neither"
        )
    if labelled.mpp is None or unlabelled.mpp is None:
        which = "source" if labelled.mpp is None else "target"
        say(f"the {which} states no resolution; its tiles are taken as they are")
    train, val = _split(labelled, known, classes, config)
    tiles = TileContract(
        size_px=config.size_px,
        mpp=labelled.mpp,
        stain=labelled.stain,
        encoder=encoder.name,
        weights=weights,
        encoder_px=config.tile_px,
        num_features=encoder.num_features,
    )
    is_kept = config.is_pixels or (start is not None and start.card.has_encoder)
    cases = tuple(hidden[i].case_id or i if i in hidden else i for i in unlabelled.slide_ids)
    return Domains(
        train, val, unlabelled, classes, tiles, (source.path.name, target.path.name),
        encoder if is_kept else None, start, cases,
        partial(_again, target, sampling_of(config, labelled.mpp, options.target_mpp)),
    )  # fmt: skip


def _again(given: TileInput, sampling: Sampling, slide_ids: Sequence[str]) -> Iterator[SlideTiles]:
    """The tiles of some slides of an input."""
    asked = set(slide_ids)
    some = replace(
        given,
        slides=tuple(s for s in given.slides if s.slide_id in asked),
        stores=tuple(s for s in given.stores if s.stem in asked),
        rejected=(),
    )
    return iter_samples(some, sampling)


def _encoder(
    config: AdaptConfig, options: AdaptOptions, start: Start | None, classes: tuple[str, ...]
) -> Encoder:
    """The encoder as it is before training."""
    has_encoder = start is not None and start.card.has_encoder
    encoder = make_encoder(
        config.encoder, weights=options.weights, is_pretrained=not has_encoder
    ).eval()
    if start is not None:
        start.require_classes(classes)
        start.give_encoder(encoder)
    return encoder


def _sinks(
    config: AdaptConfig, encoder: Encoder, device: str, folder: Path
) -> tuple[TileSink, TileSink]:
    """Where the tiles of source and target go."""
    if config.is_pixels:
        return FileSink(folder / "source.npy"), FileSink(folder / "target.npy")
    ready = prepare(encoder, device)
    return (
        FeatureSink(ready, device, config.tile_px),
        FeatureSink(ready, device, config.tile_px),
    )


def _split(
    labelled: DomainTiles,
    known: Mapping[str, SlideRecord],
    classes: tuple[str, ...],
    config: AdaptConfig,
) -> tuple[DomainTiles, DomainTiles]:
    """The source's slides that train, and those that judge."""
    split = split_of_manifest([known[i] for i in labelled.slide_ids], VAL_SHARE, config.seed)
    number = {name: i for i, name in enumerate(labelled.slide_ids)}
    train, val = (
        labelled.chosen([number[name] for name in part]) for part in (split.train, split.val)
    )
    missing = set(range(len(classes))) - set(train.label_N.tolist())
    if missing:
        raise ConfigError(
            f"no slide of the source that is trained on is {classes[min(missing)]}. Each class "
            "needs several cases, of which a part is set aside"
        )
    return train, val
