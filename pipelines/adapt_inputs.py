"""The two domains of an adaptation: tiles of slides or pictures as features, with labels or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.manifest import SlideRecord, read_manifest
from pathology.models.encode import encode
from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pipelines.grade_order import order_of
from pipelines.input_kinds import look_at
from pipelines.tile_samples import Sampling, iter_samples

Say = Callable[[str], None]
SHOWN = 5  # names in a line


@dataclass(frozen=True, eq=False)
class DomainFeatures:
    """Tiles of one domain.

    features_NF  of the encoder
    slide_N      number of each tile's slide, in slide_ids
    label_S      class of each slide, -1 where none is known
    case_S       unit that is never split
    mpp          microns per pixel of the tiles; None: not known
    """

    features_NF: NDArray[np.float32]
    slide_N: NDArray[np.int64]
    slide_ids: tuple[str, ...]
    label_S: NDArray[np.int64]
    case_S: tuple[str, ...]
    mpp: float | None

    @property
    def label_N(self) -> NDArray[np.int64]:
        """Class of each tile: its slide's."""
        return self.label_S[self.slide_N]

    def chosen(self, slides: Sequence[int]) -> DomainFeatures:
        """The same of some slides alone."""
        rows = np.isin(self.slide_N, slides)
        number = {slide: i for i, slide in enumerate(slides)}
        return DomainFeatures(
            self.features_NF[rows],
            np.array([number[s] for s in self.slide_N[rows].tolist()], np.int64),
            tuple(self.slide_ids[s] for s in slides),
            self.label_S[list(slides)],
            tuple(self.case_S[s] for s in slides),
            self.mpp,
        )


def labels_of(path: Path, labels: Path | None) -> dict[str, SlideRecord]:
    """Rows of a manifest by slide: of labels, or of the path itself where it is a manifest."""
    if labels is not None:
        return {slide.slide_id: slide for slide in read_manifest(labels).slides}
    return {slide.slide_id: slide for slide in look_at(path).slides}


def classes_of(
    records: Mapping[str, SlideRecord], config: AdaptConfig, say: Say
) -> tuple[str, ...]:
    """The classes, benign first. Raises ConfigError where labels are missing or not among them."""
    found = sorted({r.label for r in records.values() if r.label})
    if not found:
        raise ConfigError(
            "the source has no labels. Give a manifest with a column 'label' as --source, or with "
            "--labels"
        )
    mapped = [config.class_map.get(label, label) for label in found]
    order, remark = order_of(mapped, config.classes)
    strangers = [label for label in found if config.class_map.get(label, label) not in order]
    if strangers:
        raise ConfigError(
            f"the label {strangers[0]!r} is none of the classes {', '.join(order)}. "
            "Say what it is: "
            f"--set 'class_map={{{strangers[0]}: {order[0]}}}'"
        )
    if remark:
        say(remark)
    return tuple(order)


def read_domain(
    path: Path,
    records: Mapping[str, SlideRecord],
    classes: Sequence[str],
    config: AdaptConfig,
    encoder: Encoder | OnnxEncoder,
    *,
    device: str = "cpu",
    mpp: float | None = None,
    assume_mpp: float | None = None,
    is_labelled: bool,
    say: Say,
    on_slide: Callable[[str], None] = lambda line: None,
) -> DomainFeatures:
    """Tiles of every slide or picture of a path, through the encoder.

    mpp          microns per pixel that tiles are cut at; None: as they come
    assume_mpp   for pictures and slides that state none
    is_labelled  whether slides without a class are left out
    What cannot be read, or has no class where it needs one, is said and left out. Raises
    ArtifactError where nothing is left.
    """
    sampling = Sampling(config.size_px, config.tiles_per_slide, mpp, assume_mpp)
    features, sizes, ids, labels, cases = [], [], [], [], []
    spacings: list[float] = []
    problems, unlabelled = [], []
    for sample in iter_samples(look_at(path), sampling):
        record = records.get(sample.slide_id)
        label = _class_of(record, classes, config)
        if sample.problem or not len(sample.tiles_NHW3):
            problems.append(f"{sample.slide_id}: {sample.problem or 'it has no tiles'}")
            on_slide(problems[-1])
            continue
        if is_labelled and label < 0:
            unlabelled.append(sample.slide_id)
            continue
        features.append(encode(encoder, sample.tiles_NHW3, device=device, size_px=config.tile_px))
        sizes.append(len(features[-1]))
        ids.append(sample.slide_id)
        labels.append(label)
        cases.append(record.case_id or sample.slide_id if record else sample.slide_id)
        spacings += [sample.mpp] if sample.mpp else []
        on_slide(f"{sample.slide_id}: {sizes[-1]} tiles")
    for line in problems:
        say(line)
    if unlabelled:
        shown = ", ".join(unlabelled[:SHOWN]) + (", ..." if len(unlabelled) > SHOWN else "")
        say(f"{path}: {len(unlabelled)} slides have no label and are left out ({shown})")
    if not features:
        raise ArtifactError(
            f"{path}: no tiles to learn from"
            + (f" ({problems[0]})" if problems else "")
            + (". Give labels in a manifest" if unlabelled else "")
        )
    return DomainFeatures(
        np.concatenate(features),
        np.repeat(np.arange(len(sizes)), sizes),
        tuple(ids),
        np.array(labels, np.int64),
        tuple(cases),
        float(np.median(spacings)) if spacings else None,
    )


def _class_of(record: SlideRecord | None, classes: Sequence[str], config: AdaptConfig) -> int:
    """Number of a slide's class, -1 where it has none."""
    if record is None or not record.label:
        return -1
    label = config.class_map.get(record.label, record.label)
    if label not in classes:
        raise ConfigError(
            f"{record.slide_id}: its label {record.label!r} is none of the classes "
            f"{', '.join(classes)}. Say what it is: --set 'class_map={{{record.label}: ...}}'"
        )
    return list(classes).index(label)
