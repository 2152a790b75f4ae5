"""Do the defaults of adaptation hold where nothing was tuned? Other pairs of domains.

The tables of adapt_methods.py are of the pair that settings were chosen on. Here the same commands'
defaults carry classifiers from photos to slides, from slides and from photos to tiles of another
laboratory, and from slides to other patients seen through the simulated microscope.
"""

import argparse
import csv
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
from adapt_data import CLASSES, ColonData, Setting, domains_of, tiles_of
from adapt_methods import Bench, Row, table
from manifests import GLAS_MPP
from measure import keep_to_cores
from PIL import Image

from pathology.adapt.config import AdaptConfig
from pathology.core.config import load_config
from pathology.data.splits import split_of_manifest
from pathology.models.card import TileContract
from pathology.models.encode import encode
from pathology.simulate.microscope import MicroscopeConfig, microscope_frame
from pipelines.adapt_domains import VAL_SHARE, Domains
from pipelines.adapt_inputs import DomainTiles

PAIRS = ("photos to slides", "slides to camera", "slides to tiles", "photos to tiles")
METHODS = ("source", "adabn", "entropy", "mcc", "dann", "dman", "dman+mcc", "target")
ADAPT_SHARE = 0.6  # of the target's patients, unlabelled; the others test
CRC_CLASSES = {"NORM": 0, "TUM": 1}


class Pair:
    """Both domains of one of PAIRS, from the tiles of the colon task and those of CRC-VAL."""

    def __init__(self, name: str, colon: ColonData, crc: Path) -> None:
        self.colon, self.crc = colon, crc
        source, self.target = name.split(" to ")
        self.source = {"photos": "target", "slides": "source"}[source]  # as ColonData calls them
        self.crc_tiles, self.camera_tiles = cache(self._crc_tiles), cache(self._camera_tiles)

    def domains(self, setting: Setting, seed: int) -> tuple[Domains, DomainTiles]:
        """What is learned from, and the part of the target that tests."""
        if setting != Setting():
            raise ValueError(f"{setting}: there is none of it here")
        records, plain = self.colon.records(self.source), self.colon.features(self.source)
        if self.target == "tiles":  # few: those that are adapted to without labels test, too
            unlabelled = test = self.crc_tiles()
        else:
            slides = self.colon.records("source")
            patients = np.array([r.case_id for r in slides])
            names = np.random.default_rng([seed, 7]).permutation(np.unique(patients))
            is_first = np.isin(patients, names[: round(ADAPT_SHARE * len(names))])
            if self.target == "camera":  # the first teach, the others are seen by the camera
                records = [r for r, first in zip(slides, is_first, strict=True) if first]
                whole, others = self.camera_tiles(), np.flatnonzero(~is_first)
                unlabelled = test = whole.chosen(others.tolist())
            else:
                whole = self.colon.features("source")
                unlabelled, test = (
                    whole.chosen(np.flatnonzero(part).tolist()) for part in (is_first, ~is_first)
                )
        split = split_of_manifest(records, VAL_SHARE, seed)
        number = {slide_id: i for i, slide_id in enumerate(plain.slide_ids)}
        train, val = (
            plain.chosen([number[slide_id] for slide_id in part])
            for part in (split.train, split.val)
        )
        tiles = TileContract(
            size_px=self.colon.config.size_px, mpp=GLAS_MPP, stain="raw",
            encoder=self.colon.config.encoder, num_features=plain.values.shape[1],
        )  # fmt: skip
        names_of = (self.source, self.target)
        return domains_of(train, val, unlabelled, CLASSES, tiles, names_of), test

    def _crc_tiles(self) -> DomainTiles:
        """Normal mucosa and tumor of CRC-VAL."""
        images, labels = [], []
        with (self.crc / "labels.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                if row["class"] in CRC_CLASSES:
                    with Image.open(self.crc / row["file"]) as image:
                        images.append(np.asarray(image.convert("RGB")))
                    labels.append(CRC_CLASSES[row["class"]])
        made = encode(self.colon.encoder(), np.stack(images))
        return _each(made, np.arange(len(made)), np.array(labels, np.int64))

    def _camera_tiles(self) -> DomainTiles:
        """The slides' squares through the simulated microscope, at their own scale."""
        plain, config = self.colon.tiles("source"), MicroscopeConfig(mpp=GLAS_MPP)
        frames = [microscope_frame(tile, i, config) for i, tile in enumerate(plain.tiles_NHW3)]
        made = encode(self.colon.encoder(), np.stack(frames))
        label_S = np.array([CLASSES.index(r.label) for r in plain.records], np.int64)
        return _each(made, plain.slide_N, label_S)


def _each(features_NF: np.ndarray, slide_N: np.ndarray, label_S: np.ndarray) -> DomainTiles:
    names = tuple(map(str, range(len(label_S))))
    return tiles_of(features_NF, slide_N, names, label_S, GLAS_MPP, "raw")


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("PATHOLOGY_DATA", ""))
    parser.add_argument("--data", type=Path, default=default, help="holds the folders of all three")
    parser.add_argument("--out", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--pairs", nargs="*", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--label", default="others", help="name of these settings' results")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(words)
    keep_to_cores(2)
    base = load_config(AdaptConfig, None, options.set)
    colon = ColonData(options.data, options.out / "data", base)
    label, seeds = options.label, range(options.seeds)
    for name in options.pairs:
        options.label = f"{label}_{name.replace(' ', '_')}"
        bench = Bench(options, Pair(name, colon, options.data / "crc_val_he_7k_subset"))
        rows = [Row(method, method) for method in options.methods]
        for row in rows:
            for seed in seeds:
                bench.result(row, seed)
        print(f"\n{name}\n\n{table(bench, rows, seeds)}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
