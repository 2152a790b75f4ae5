"""The two domains of an adaptation: tiles of slides or pictures, with labels or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.manifest import SlideRecord, read_manifest
from pathology.stain.contract import StainMismatch
from pathology.tiling.shown import shown_by
from pipelines.adapt_tiles import TileSink, Values
from pipelines.grade_order import order_of
from pipelines.input_kinds import TileInput
from pipelines.prediction_tables import read_tile_predictions
from pipelines.tile_labels import TileLabels, Told
from pipelines.tile_samples import Sampling, SlideTiles, common_mpp, iter_samples

Say = Callable[[str], None]
SHOWN = 5  # names in a line
GREY_AS_RGB = (
    "a grey picture, though stored as RGB, shows no stains. Give color pictures of stained tissue."
)


@dataclass(frozen=True, eq=False)
class DomainTiles:
    """Tiles of one domain, N of them.

    values     features (M, F) of the encoder; or in a file that is mapped pixels (M, H, W, 3), or
               what the encoder's first part makes of each tile and its K variations (M, 1 + K, R)
    row_N      where in them each tile is
    slide_N    number of each tile's slide, in slide_ids
    label_S    class of each slide, -1 where none is known
    tile_label_N  class of each tile, where tiles have labels of their own
    mpp        microns per pixel of the tiles; None: not known
    stain      fingerprint of the stain model that they were normalized by, or "raw"
    weight_N   how much each tile counts; None: all alike
    """

    values: Values
    row_N: NDArray[np.int64]
    slide_N: NDArray[np.int64]
    slide_ids: tuple[str, ...]
    label_S: NDArray[np.int64]
    mpp: float | None
    stain: str
    tile_label_N: NDArray[np.int64] | None = None
    weight_N: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.row_N)

    @property
    def label_N(self) -> NDArray[np.int64]:
        """Class of each tile: its own, or its slide's."""
        return self.label_S[self.slide_N] if self.tile_label_N is None else self.tile_label_N

    def read(self, numbers: NDArray[np.int64] | slice) -> Values:
        """What is kept of some of the tiles."""
        return self.values[self.row_N[numbers]]

    @property
    def is_maps(self) -> bool:
        """Whether that is what the encoder's first part makes of them."""
        return self.values.ndim == 3

    def maps(
        self, numbers: NDArray[np.int64], which: NDArray[np.int64] | int = 0
    ) -> NDArray[np.float32]:
        """Rows (n, R) of some of the tiles, as they are (0) or in one of their variations."""
        return np.asarray(self.values[self.row_N[numbers], which], np.float32)

    def some(self, num: int) -> NDArray[np.int64]:
        """Numbers of so many tiles, or of all if there are fewer, evenly spaced."""
        return np.unique(np.linspace(0, len(self) - 1, min(len(self), num)).astype(np.int64))

    def chosen(self, slides: Sequence[int]) -> DomainTiles:
        """The same of some slides alone."""
        rows = np.isin(self.slide_N, slides)
        number = {slide: i for i, slide in enumerate(slides)}
        return replace(
            self,
            row_N=self.row_N[rows],
            slide_N=np.array([number[s] for s in self.slide_N[rows].tolist()], np.int64),
            slide_ids=tuple(self.slide_ids[s] for s in slides),
            label_S=self.label_S[list(slides)],
            tile_label_N=None if self.tile_label_N is None else self.tile_label_N[rows],
            weight_N=None if self.weight_N is None else self.weight_N[rows],
        )


def labels_of(slides: Sequence[SlideRecord], labels: Path | None) -> dict[str, SlideRecord]:
    """Rows of a manifest by slide: of labels, or of the input itself where it is a manifest."""
    slides = slides if labels is None else read_manifest(labels).slides
    return {slide.slide_id: slide for slide in slides}


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
    order, remark = order_of(mapped, config.classes, "classes")
    if remark:
        say(remark)
    if len(set(order)) < max(2, len(order)):
        raise ConfigError(
            f"classes=[{', '.join(order)}]: a classifier needs two classes at least, each once"
        )
    return tuple(order)


def say_absent_names(
    config: AdaptConfig,
    sides: Iterable[Mapping[str, SlideRecord]],
    tile_labels: Path | None,
    say: Say,
) -> None:
    """Say which names of class_map no label has, as a misspelt one.

    sides        records of source and target by slide
    tile_labels  a table of predictions, whose grades are labels, too

    That is no error: a run's map is that of pictures that only test, too, and of all targets.
    """
    labels = {record.label for side in sides for record in side.values() if record.label}
    if tile_labels is not None and not labels.issuperset(config.class_map):
        labels.update(read_tile_predictions(tile_labels).grades)
    absent = [name for name in config.class_map if name not in labels]
    if not absent:
        return
    found = ", ".join(sorted(labels)) or "none"
    say(f"class_map: no label is called {', '.join(map(repr, absent))} (labels: {found})")


def class_numbers(
    records: Mapping[str, SlideRecord], classes: Sequence[str], config: AdaptConfig
) -> dict[str, int]:
    """Number of the class of each slide that has a label.

    Raises ConfigError for a label that is none of the classes, by its own name or by class_map.
    """
    number = {name: i for i, name in enumerate(classes)}
    found = {}
    for slide_id, record in records.items():
        label = config.class_map.get(record.label, record.label)
        if record.label and label not in number:
            raise ConfigError(
                f"{slide_id}: its label {record.label!r} is none of the classes "
                f"{', '.join(classes)}. Say what it is: "
                f"--set 'class_map={{{record.label}: {classes[0]}}}'"
            )
        if record.label:
            found[slide_id] = number[label]
    return found


def sampling_of(config: AdaptConfig, mpp: float | None, assume_mpp: float | None) -> Sampling:
    """Which tiles of a slide are read."""
    return Sampling(config.size_px, config.tiles_per_slide, mpp, assume_mpp, setting="size_px")


def read_domain(
    given: TileInput,
    class_of: Mapping[str, int],
    config: AdaptConfig,
    sink: TileSink,
    *,
    mpp: float | None = None,
    assume_mpp: float | None = None,
    is_labelled: bool,
    tile_labels: TileLabels | None = None,
    say: Say,
    on_slide: Callable[[], None] = lambda: None,
) -> DomainTiles:
    """Tiles of every slide or picture of an input.

    class_of     number of the class of each slide that has one
    sink         where they go
    mpp          microns per pixel that tiles are cut at; None: as they come
    assume_mpp   for pictures and slides that state none
    is_labelled  whether slides without a class are left out
    tile_labels  classes of the tiles themselves; those without are left out
    What cannot be read, is grey, or has no class where it needs one, is said and left out. Raises
    ArtifactError where nothing is left, StainMismatch where tiles are in several stains.
    """
    roll = Roll(given.path, class_of, is_labelled=is_labelled, say=say)
    spacings: list[float] = []
    num_used = 0
    stains: set[str] = set()
    for sample in iter_samples(given, sampling_of(config, mpp, assume_mpp)):
        on_slide()
        if roll.is_taken(sample.slide_id, len(sample.tiles_NHW3), problem_of(sample)):
            tiles = sample.tiles_NHW3
            if tile_labels is not None:
                tiles = tiles[roll.label(sample.slide_id, tile_labels.of(sample))]
            sink.add(tiles)
            spacings += [sample.mpp] if sample.mpp else []
            num_used += 1
            stains.add(sample.stain)
    roll.close()
    if len(stains) > 1:
        raise StainMismatch(
            f"{given.path}: tiles in several stains ({', '.join(sorted(stains))}). Give one run"
        )
    mpp = common_mpp(given.path, spacings, num_used, say if assume_mpp is None else None)
    return roll.domain(sink.values(), mpp, stains.pop())


def problem_of(sample: SlideTiles) -> str:
    """Why a slide or picture cannot be learned from, or ""; one of glass alone can."""
    is_grey = not sample.problem and shown_by(sample.tiles_NHW3) == "grey"
    return GREY_AS_RGB if is_grey else sample.problem


def nothing_left(path: Path, problems: Sequence[str]) -> ArtifactError:
    """The refusal of an input of which nothing can be learned from."""
    why = f" ({len(problems)} left out; {problems[-1]})" if problems else ""
    return ArtifactError(f"{path}: no tiles to learn from{why}")


class Roll:
    """The slides of a domain while they are read; those that are left out are said.

    class_of     number of the class of each slide that has one
    is_labelled  whether slides without a class are left out
    """

    def __init__(
        self, path: Path, class_of: Mapping[str, int], *, is_labelled: bool, say: Say
    ) -> None:
        self.path, self.class_of = path, class_of
        self.is_labelled, self.say = is_labelled, say
        self._num: dict[str, int] = {}
        self._told: list[Told] = []
        self._unlabelled: list[str] = []
        self._problems: list[str] = []

    def is_taken(self, slide_id: str, num: int, problem: str = "") -> bool:
        """Note a slide of so many tiles; whether they are learned from."""
        if problem or not num:
            self._problems.append(f"{slide_id}: {problem or 'it has no tiles'}")
            self.say(self._problems[-1])
        elif self.is_labelled and slide_id not in self.class_of:
            self._unlabelled.append(slide_id)
        else:
            self._num[slide_id] = num
        return slide_id in self._num

    def label(self, slide_id: str, told: Told) -> NDArray[np.bool_]:
        """Note what is said of a slide's tiles; which have a class, and are learned from."""
        is_known_N = told.class_N >= 0
        self._num[slide_id] = int(is_known_N.sum())
        self._told.append(Told(told.class_N[is_known_N], told.weight_N[is_known_N]))
        return is_known_N

    def close(self) -> None:
        """Say what is left out. Raises ArtifactError where nothing is left."""
        missing, problems = self._unlabelled, self._problems
        if missing:
            shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
            self.say(f"{self.path}: {len(missing)} slides have no label and are left out ({shown})")
        if not sum(self._num.values()):
            raise nothing_left(self.path, problems)
        if problems:
            num = len(problems) + len(missing) + len(self._num)
            self.say(f"{self.path}: {len(problems)} of {num} left out, as said above")

    def domain(self, values: Values, mpp: float | None, stain: str) -> DomainTiles:
        """The tiles of all slides that were taken, in that order."""
        ids, counts = tuple(self._num), list(self._num.values())
        return DomainTiles(
            values,
            np.arange(sum(counts)),
            np.repeat(np.arange(len(ids)), counts),
            ids,
            np.array([self.class_of.get(slide_id, -1) for slide_id in ids], np.int64),
            mpp,
            stain,
            *(np.concatenate(values) for values in zip(*self._told, strict=True)),
        )
