"""Both domains of an adaptation as they are learned from, checked and split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ConfigError
from pathology.core.manifest import SlideRecord
from pathology.data.splits import in_no_part, require_apart, some_cases, split_of_manifest
from pathology.models.card import TileContract
from pathology.models.encoder import Encoder
from pathology.stain.contract import StainMismatch
from pathology.training.fabric import Precision, device_of
from pipelines.adapt_checks import Labelled, require_learnable, without_test
from pipelines.adapt_encoder import encoding_of
from pipelines.adapt_features import (
    FeatureInput,
    Given,
    given_tiles,
    read_feature_domain,
    settings_of,
)
from pipelines.adapt_inputs import (
    DomainTiles,
    Say,
    class_numbers,
    classes_of,
    labels_of,
    read_domain,
    sampling_of,
    say_absent_names,
)
from pipelines.adapt_scale import target_mpp_of
from pipelines.adapt_start import Start, read_start
from pipelines.adapt_tiles import TileSink, Values
from pipelines.adapt_weights import weighed, weights_of
from pipelines.input_kinds import TileInput
from pipelines.tile_labels import TileLabels, read_tile_labels
from pipelines.tile_samples import Sampling, SlideTiles, iter_samples
from pipelines.weak_inputs import NO_PART, remark

VAL_SHARE = 0.2
BLOCK = 1024  # tiles that a digest is taken of at once


@dataclass(frozen=True)
class AdaptOptions:
    """How an adaptation is run; nothing here is a setting of the model.

    num_devices  processes of this machine
    precision   of training on pixels
    labels, target_labels  manifests with labels, where source and target are none themselves; the
                target's are for figures alone, or for the oracle
    mpp         microns per pixel that the source's tiles are cut at; None: as they come
    target_mpp  of pictures of the target that state none; "auto": by their looks
    weights     a file of the encoder's
    start       a model whose weights training starts from
    tile_labels a table of predictions, which label the source's tiles in the place of their slides
    """

    device: str = "auto"
    num_devices: int = 1
    precision: Precision = "32"
    labels: Path | None = None
    target_labels: Path | None = None
    mpp: float | None = None
    target_mpp: float | Literal["auto"] | None = None
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
    assumed_mpp  microns per pixel of the target's pictures that state none: given, guessed, or else
                 those of the source
    records   of the source's slides
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
    assumed_mpp: float | None = None
    records: tuple[SlideRecord, ...] = ()

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

    def with_values(self, source: Values, target: Values) -> Domains:
        """The same with the features or pixels of both sides elsewhere, or none."""
        train, val = (replace(part, values=source) for part in (self.train, self.val))
        return replace(self, train=train, val=val, target=replace(self.target, values=target))

    def remove_files(self) -> None:
        """Remove the pixels, or the features, that were kept in files to be trained on."""
        for part in (self.train, self.target):
            if isinstance(part.values, np.memmap) and part.values.filename:
                Path(part.values.filename).unlink(missing_ok=True)


def read_domains(
    source: Given,
    target: Given,
    config: AdaptConfig,
    options: AdaptOptions,
    folder: Path,
    *,
    on_slide: Callable[[], None] = lambda: None,
    say: Say = lambda line: None,
) -> Domains:
    """Tiles of both sides; the source's cases in two parts, one of which only judges.

    folder  where pixels lie while they are trained on; features are kept in memory

    What a manifest marks test is left out, of either side; the source's marked val judge.
    Features are taken as they are; a side of tiles is encoded as the other was. Labels are checked
    before any tile is read. Raises ConfigError where they do not do, ContractError where features
    are of other tiles or by another encoder, and StainMismatch where the two sides are normalized
    otherwise.
    """
    target = without_test(target, say)
    made = given_tiles(source, target, config, options.mpp)
    config = settings_of(config, made)
    known = labels_of(source.slides, options.labels)
    hidden = labels_of(target.slides, options.target_labels)
    start = None if options.start is None else read_start(options.start)
    if start is not None and not config.classes:
        config = config.model_copy(update={"classes": start.card.grades})
    say_absent_names(config, (known, hidden), options.tile_labels, say)
    classes = classes_of(known, config, say)
    class_of, hidden_class_of = (class_numbers(r, classes, config) for r in (known, hidden))
    require_learnable(
        Labelled(source, known, class_of), Labelled(target, hidden, hidden_class_of), classes,
        config, VAL_SHARE, has_tile_labels=options.tile_labels is not None,
    )  # fmt: skip
    weight_of = weights_of(known)
    is_features = [isinstance(side, FeatureInput) for side in (source, target)]
    encoding = encoding_of(
        config, classes, start, made, options.weights, is_needed=not all(is_features)
    )
    device = device_of(options.device)
    sinks = encoding.sinks(config, device, folder)
    mpp = options.mpp if made is None else made.mpp
    tile_labels = None
    if options.tile_labels is not None:
        tile_labels = read_tile_labels(
            options.tile_labels, classes, config.class_map, class_of, config.label_confidence,
            is_weighed=config.is_label_weighed,
        )  # fmt: skip
    is_pictures = isinstance(source, TileInput) and source.kind == "images"
    labelled = _read(
        source, class_of, config, sinks[0], (mpp, mpp if is_pictures else None), is_labelled=True,
        tile_labels=tile_labels, say=say, on_slide=on_slide,
    )  # fmt: skip
    assumed = target_mpp_of(
        options.target_mpp, source, target, config, encoding.encoder, device, labelled.mpp, say
    )
    unlabelled = _read(
        target, hidden_class_of, config, sinks[1], (labelled.mpp, assumed),
        is_labelled=config.is_supervised, say=say, on_slide=on_slide,
    )  # fmt: skip
    _require_alike(labelled, unlabelled, (source.path, target.path), say)
    train, val = _split(labelled, known, classes, config, say)
    train = weighed(train, weight_of, say)
    known_tiles = {"mpp": labelled.mpp, "stain": labelled.stain}
    is_kept = config.is_pixels or (start is not None and start.card.has_encoder)
    cases = tuple(hidden[i].case_id or i if i in hidden else i for i in unlabelled.slide_ids)
    sampling = sampling_of(config, labelled.mpp, assumed)
    return Domains(
        train, val, unlabelled, classes, encoding.tiles.model_copy(update=known_tiles),
        (source.path.name, target.path.name), encoding.encoder if is_kept else None, start, cases,
        None if isinstance(target, FeatureInput) else partial(_again, target, sampling),
        labelled.mpp if assumed is None and unlabelled.mpp is None else assumed,
        tuple(known[i] for part in (train, val) for i in part.slide_ids),
    )  # fmt: skip


def _read(
    given: Given,
    class_of: Mapping[str, int],
    config: AdaptConfig,
    sink: TileSink,
    mpp: tuple[float | None, float | None],
    *,
    is_labelled: bool,
    tile_labels: TileLabels | None = None,
    say: Say,
    on_slide: Callable[[], None],
) -> DomainTiles:
    """A domain, of tiles or of features; mpp: that of its tiles, and for pictures without one."""
    if isinstance(given, FeatureInput):
        return read_feature_domain(
            given, class_of, config, is_labelled=is_labelled, tile_labels=tile_labels, say=say,
            on_slide=on_slide,
        )  # fmt: skip
    return read_domain(
        given, class_of, config, sink, mpp=mpp[0], assume_mpp=mpp[1], is_labelled=is_labelled,
        tile_labels=tile_labels, say=say, on_slide=on_slide,
    )  # fmt: skip


def _require_alike(
    labelled: DomainTiles, unlabelled: DomainTiles, paths: tuple[Path, Path], say: Say
) -> None:
    """Raise StainMismatch where the sides are normalized otherwise; say if a resolution lacks."""
    if labelled.stain != unlabelled.stain:
        raise StainMismatch(
            f"{paths[0]}: stain is {labelled.stain}; {paths[1]}: {unlabelled.stain}. "
            "Normalize both with one model, or neither"
        )
    if labelled.mpp is None or unlabelled.mpp is None:
        which = "source" if labelled.mpp is None else "target"
        say(f"the {which} states no resolution; its tiles are taken as they are")


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


def _split(
    labelled: DomainTiles,
    known: Mapping[str, SlideRecord],
    classes: tuple[str, ...],
    config: AdaptConfig,
    say: Say,
) -> tuple[DomainTiles, DomainTiles]:
    """The source's slides that train, and those that judge."""
    records = [known[i] for i in labelled.slide_ids]
    split = split_of_manifest(records, VAL_SHARE, config.seed)
    require_apart(split, records)
    lines: list[str] = []
    remark(lines, in_no_part(split, records), f"of the source {NO_PART}")
    for line in lines:
        say(line)
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
