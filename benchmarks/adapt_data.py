"""Slide tiles and microscope photos of one organ, as features by a frozen encoder, read once.

The source are GlaS fields, the target the photos of LC25000; both also changed: the source's tiles
as other stains would show them, the photos normalized to the source, or taken worse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from manifests import GLAS_MPP, SETS, colon_rows, write_rows
from numpy.typing import NDArray
from stain_features import augmented

from pathology.adapt.config import AdaptConfig
from pathology.core.manifest import SlideRecord, read_manifest
from pathology.data.splits import split_of_manifest
from pathology.models.card import TileContract
from pathology.models.encode import encode, prepare
from pathology.models.encoder import make_encoder
from pathology.simulate.microscope import MicroscopeConfig, microscope_frame
from pathology.stain.config import StainConfig
from pathology.stain.fit import fit_reference
from pipelines.adapt_domains import VAL_SHARE, AdaptOptions, Domains
from pipelines.adapt_inputs import DomainTiles
from pipelines.input_kinds import look_at
from pipelines.tile_samples import Sampling, iter_samples

CLASSES = ("benign", "malignant")
ALL = slice(None)
ON_CPU = AdaptOptions(device="cpu")
NUM_COPIES = 4  # of each source tile, in other stains
ADAPT_SHARE = 0.6  # of the target's groups, unlabelled; the others test
_PERFECT = {
    "vignetting": 0.0, "white_balance": (1.0, 1.0, 1.0), "cast_spread": 0.0, "defocus_um": 0.0,
    "motion_um": 0.0, "noise": 0.0, "jpeg_quality": 95, "mpp": GLAS_MPP,
}  # fmt: skip
WORSE = {
    "defocus": {"defocus_um": 2.5},
    "color cast": {"white_balance": (1.1, 0.92, 0.7), "cast_spread": 0.06},
    "low light": {"white_balance": (0.5, 0.5, 0.5), "vignetting": 0.5, "noise": 12.0},
}


@dataclass(frozen=True)
class Setting:
    """Which tiles a run sees.

    source        plain, augmented, or labelled: a share of the target itself with its labels
    target        plain, a method of normalizing, or one of WORSE
    num           unlabelled photos; None: all of the 60 %
    malignant     share of malignant photos among them, against a source with as many of each
                  class; None: as they come
    labelled      that share
    """

    source: str = "plain"
    target: str = "plain"
    num: int | None = None
    malignant: float | None = None
    labelled: float | None = None


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles of a domain, and the slide or photo that each is of, in records."""

    tiles_NHW3: NDArray[np.uint8]
    slide_N: NDArray[np.int64]
    records: tuple[SlideRecord, ...]

    def slides(self) -> Iterator[NDArray[np.uint8]]:
        """The tiles of each slide."""
        for slide in range(len(self.records)):
            yield self.tiles_NHW3[self.slide_N == slide]


def tiles_of(
    features_NF: NDArray[np.float32],
    slide_N: NDArray[np.int64],
    slide_ids: tuple[str, ...],
    label_S: NDArray[np.int64],
    mpp: float | None,
    stain: str,
) -> DomainTiles:
    """Tiles of a domain as features."""
    rows = np.arange(len(features_NF))
    return DomainTiles(features_NF, rows, slide_N, slide_ids, label_S, mpp, stain)


def domains_of(
    train: DomainTiles,
    val: DomainTiles,
    target: DomainTiles,
    classes: tuple[str, ...],
    tiles: TileContract,
    names: tuple[str, str],
) -> Domains:
    """Both domains as features, each slide of the target a case of its own."""
    return Domains(train, val, target, classes, tiles, names, None, None, target.slide_ids)


class ColonData:
    """Both domains, read on first use; features are kept in files under out."""

    def __init__(self, data: Path, out: Path, config: AdaptConfig, device: str = "cpu") -> None:
        self.out, self.config, self.device = out, config, device
        self.manifests = {
            name: write_rows(out / f"{name}.csv", colon_rows(data, name)) for name in SETS
        }
        self.tiles = cache(self._tiles)
        self.features = cache(self._features)
        self.encoder = cache(lambda: prepare(make_encoder(config.encoder), device))
        self.reference = cache(
            lambda method: fit_reference(self.tiles("source").slides(), StainConfig(method=method))
        )

    def _tiles(self, name: str) -> Tiles:
        manifest = self.manifests[name]
        records = {r.slide_id: r for r in read_manifest(manifest).slides}
        sampling = Sampling(self.config.size_px, self.config.tiles_per_slide)
        samples = [s for s in iter_samples(look_at(manifest), sampling) if len(s.tiles_NHW3)]
        return Tiles(
            np.concatenate([s.tiles_NHW3 for s in samples]),
            np.repeat(np.arange(len(samples)), [len(s.tiles_NHW3) for s in samples]),
            tuple(records[s.slide_id] for s in samples),
        )

    def _features(self, name: str, change: str = "plain") -> DomainTiles:
        """Of source or target, plain or changed: the augmented hold NUM_COPIES of each tile."""
        path = self.out / f"{name}_{change.replace(' ', '_')}_{self.config.encoder}.npz"
        if not path.exists():
            tiles, slide_N = self.changed(name, change)
            made = encode(self.encoder(), tiles, device=self.device, size_px=self.config.tile_px)
            records = self.tiles(name).records
            np.savez(
                path, features=made, slide=slide_N, ids=[r.slide_id for r in records],
                label=[CLASSES.index(r.label) for r in records],
            )  # fmt: skip
        with np.load(path) as kept:
            return tiles_of(
                kept["features"], kept["slide"], tuple(map(str, kept["ids"])), kept["label"],
                GLAS_MPP if name == "source" else None, "raw",
            )  # fmt: skip

    def changed(self, name: str, change: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Tiles of a domain after a change, and the number of each one's slide."""
        plain = self.tiles(name)
        tiles, slide_N = plain.tiles_NHW3, plain.slide_N
        if change == "augmented":
            copies = [augmented(tiles, seed) for seed in range(NUM_COPIES)]
            return np.concatenate(copies), np.tile(slide_N, NUM_COPIES)
        if change in WORSE:
            config = MicroscopeConfig.model_validate(_PERFECT | WORSE[change])
            return np.stack([microscope_frame(t, i, config) for i, t in enumerate(tiles)]), slide_N
        if change != "plain":  # one camera is measured as one slide is
            settings = StainConfig(method=change, num_sample_tiles=512)
            normalizer = self.reference(change).for_slide(tiles, settings)
            return normalizer.render(tiles).tiles, slide_N
        return tiles, slide_N

    def records(self, name: str) -> list[SlideRecord]:
        """Rows of a domain's manifest in the order of its features, no pixels read."""
        rows = {r.slide_id: r for r in read_manifest(self.manifests[name]).slides}
        return [rows[slide_id] for slide_id in self.features(name).slide_ids]

    def domains(self, setting: Setting, seed: int) -> tuple[Domains, DomainTiles]:
        """What is learned from, and the part of the target that tests."""
        random = np.random.default_rng([seed, 7])
        whole = self.features("target", setting.target)
        groups = np.array([r.case_id for r in self.records("target")])
        adapt, test = _by_group(groups, random)
        if setting.labelled is not None:
            train = val = self.features("target").chosen(
                _share_of(adapt, whole.label_S, setting.labelled, random)
            )
        else:
            train, val = self._source(setting, seed, random)
        if setting.malignant is not None:
            adapt = _of_ratio(adapt, whole.label_S, setting.malignant, random)
        if setting.num is not None:
            adapt = np.sort(random.permutation(adapt)[: setting.num])
        tiles = TileContract(
            size_px=self.config.size_px, mpp=GLAS_MPP, stain="raw", encoder=self.config.encoder,
            num_features=whole.values.shape[1],
        )  # fmt: skip
        names = ("glas", "lc25000_colon")
        learned = domains_of(train, val, whole.chosen(adapt.tolist()), CLASSES, tiles, names)
        return learned, whole.chosen(test.tolist())

    def _source(
        self, setting: Setting, seed: int, random: np.random.Generator
    ) -> tuple[DomainTiles, DomainTiles]:
        plain = self.features("source")
        split = split_of_manifest(self.records("source"), VAL_SHARE, seed)
        number = {slide_id: i for i, slide_id in enumerate(plain.slide_ids)}
        train, val = ([number[name] for name in part] for part in (split.train, split.val))
        if setting.malignant is not None:
            train = _of_ratio(np.array(train), plain.label_S, 0.5, random).tolist()
        chosen = plain.chosen(train)
        if setting.source == "augmented":
            more = self.features("source", "augmented").chosen(train)
            chosen = tiles_of(
                np.concatenate([chosen.read(ALL), more.read(ALL)]),
                np.concatenate([chosen.slide_N, more.slide_N]),
                chosen.slide_ids, chosen.label_S, chosen.mpp, chosen.stain,
            )  # fmt: skip
        return chosen, plain.chosen(val)


def _by_group(
    groups: NDArray[np.str_], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of both parts; copies of one photo are never in two."""
    names = random.permutation(np.unique(groups))
    is_adapt = np.isin(groups, names[: round(ADAPT_SHARE * len(names))])
    return np.flatnonzero(is_adapt), np.flatnonzero(~is_adapt)


def _of_ratio(
    places: NDArray[np.int64], label_S: NDArray[np.int64], share: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """As many places as there can be with that share of class 1."""
    parts = [random.permutation(places[label_S[places] == c]) for c in (0, 1)]
    total = min(len(parts[0]) / (1 - share), len(parts[1]) / share)
    counts = [round(total * (1 - share)), round(total * share)]
    return np.sort(np.concatenate([p[:n] for p, n in zip(parts, counts, strict=True)]))


def _share_of(
    places: NDArray[np.int64], label_S: NDArray[np.int64], share: float, random: np.random.Generator
) -> list[int]:
    """A share of the places of each class, at least one."""
    parts = [random.permutation(places[label_S[places] == c]) for c in (0, 1)]
    return sorted(int(p) for part in parts for p in part[: max(1, round(share * len(part)))])
