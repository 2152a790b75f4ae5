"""Three ordered grades, from slides to a camera on a microscope: which method carries over?

Source: tiles of the cohort maker's slides, each with the grade of its map. Target: the fields of
patients that no slide shows, through the simulated microscope; a field's grade is all its tiles'.
By seed 60 % of each grade's fields are adapted to without labels, the others test.
"""

import argparse
import csv
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
from adapt_data import Setting, domains_of, tiles_of
from adapt_methods import Bench, Row, table
from manifests import GLAS_MPP
from measure import keep_to_cores
from numpy.typing import NDArray
from PIL import Image

from pathology.adapt.config import AdaptConfig
from pathology.core.config import load_config
from pathology.core.manifest import read_manifest
from pathology.data.splits import split_of_manifest
from pathology.interop.tile_facts import facts_of_store
from pathology.models.card import TileContract
from pathology.models.encode import encode, prepare
from pathology.models.encoder import make_encoder
from pathology.simulate.microscope import MicroscopeConfig, microscope_frame
from pathology.tiling.store import open_tiles
from pipelines.adapt_domains import VAL_SHARE, Domains
from pipelines.adapt_inputs import DomainTiles
from pipelines.flat_pictures import evenly, squares_of
from pipelines.tile import TileOptions, run_tiling
from pipelines.tile_truth import truth_of_tiles

GRADES = ("healthy", "adenoma", "carcinoma")
METHODS = ("source", "adabn", "mcc", "entropy", "dann", "dman", "dman+mcc", "target")
NUM_SLIDES, ADAPT_SHARE = 45, 0.6


class GradeData:
    """Both domains, made on first use; tiles count as slides of their own, for each has a grade."""

    def __init__(self, options: argparse.Namespace, config: AdaptConfig) -> None:
        self.options, self.config = options, config
        self.source, self.target = cache(self._source), cache(self._target)
        self.encoder = cache(lambda: prepare(make_encoder(config.encoder), options.device))

    def domains(self, setting: Setting, seed: int) -> tuple[Domains, DomainTiles]:
        """What is learned from, and the part of the target that tests."""
        if setting != Setting():
            raise ValueError(f"{setting}: there is none of it here")
        source, slides = self.source()
        target, fields = self.target()
        records = read_manifest(self.cohort()).slides
        split = split_of_manifest(records, VAL_SHARE, seed)
        train, val = (
            source.chosen(np.flatnonzero(np.isin(slides, part)).tolist())
            for part in (split.train, split.val)
        )
        random = np.random.default_rng([seed, 7])
        names = [random.permutation(np.unique(fields[target.label_S == g])) for g in range(3)]
        adapt = np.concatenate([n[: round(ADAPT_SHARE * len(n))] for n in names])
        is_adapt = np.isin(fields, adapt)
        tiles = TileContract(
            size_px=self.config.size_px, mpp=GLAS_MPP, stain="raw", encoder=self.config.encoder,
            num_features=source.values.shape[1],
        )  # fmt: skip
        unlabelled, test = (
            target.chosen(np.flatnonzero(rows).tolist()) for rows in (is_adapt, ~is_adapt)
        )
        return domains_of(train, val, unlabelled, GRADES, tiles, ("slides", "camera")), test

    def cohort(self) -> Path:
        """The manifest of slides of known patients."""
        folder = self.options.out / "cohort"
        if not (folder / "done").exists():
            subprocess.run(
                [
                    sys.executable, self.options.maker, "cohort", "--out", folder,
                    "--slides", str(NUM_SLIDES), "--split", "train", "--split-by", "case",
                ],
                check=True,
            )  # fmt: skip
            (folder / "done").touch()
        return folder / "manifest.csv"

    def _source(self) -> tuple[DomainTiles, NDArray[np.str_]]:
        """Tiles of known grade, and the slide of each."""
        manifest, run = self.cohort(), self.options.out / "run"
        settings = (f"tile.mpp={GLAS_MPP}", f"tile.size_px={self.config.size_px}")
        if not (run / "tiled").exists():
            run_tiling(TileOptions(manifest, run, overrides=settings, workers=1))
            (run / "tiled").touch()
        blocks, names, grades = [], [], []
        for record in read_manifest(manifest).slides:
            store = open_tiles(run / "tiles" / f"{record.slide_id}.zarr")
            at = facts_of_store(store)
            truth = truth_of_tiles(record, at.l0_xy, at.l0_edge, at.l0_slide, manifest.parent)
            known = np.flatnonzero(truth >= 0)
            rows = known[evenly(len(known), self.config.tiles_per_slide)]
            blocks.append(store.read(rows))
            names += [record.slide_id] * len(rows)
            grades += truth[rows].tolist()
        return self._encoded("source", np.concatenate(blocks), names, grades)

    def _target(self) -> tuple[DomainTiles, NDArray[np.str_]]:
        """Tiles of the camera's pictures, and the field of each."""
        with self.cohort().open(newline="") as stream:
            seen = {p for row in csv.DictReader(stream) for p in row["patients"].split()}
        folder, config = self.options.data / "glas", MicroscopeConfig(mpp=GLAS_MPP)
        blocks, names, grades = [], [], []
        with (folder / "labels.csv").open(newline="") as stream:
            for number, row in enumerate(csv.DictReader(stream)):
                if row["case_id"] not in seen:
                    field = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
                    frame = microscope_frame(field, number, config)
                    squares = squares_of(frame, self.config.size_px)
                    blocks.append(squares)
                    names += [row["file"]] * len(squares)
                    grades += [GRADES.index(row["grade"])] * len(squares)
        return self._encoded("target", np.concatenate(blocks), names, grades)

    def _encoded(
        self, name: str, tiles_NHW3: NDArray[np.uint8], names: list[str], grades: list[int]
    ) -> tuple[DomainTiles, NDArray[np.str_]]:
        path = self.options.out / f"{name}_{self.config.encoder}.npy"
        if not path.exists():
            np.save(path, encode(self.encoder(), tiles_NHW3, device=self.options.device))
        ids = tuple(f"{n}_{i}" for i, n in enumerate(names))
        found = tiles_of(
            np.load(path), np.arange(len(ids)), ids, np.array(grades, np.int64), GLAS_MPP, "raw"
        )
        return found, np.array(names)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maker", type=Path, help="make_slides.py, the cohort maker")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATHOLOGY_DATA", "")))
    parser.add_argument("--out", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="for the encoder")
    parser.add_argument("--label", default="grades", help="name of these settings' results")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(words)
    keep_to_cores(2)
    bench = Bench(options, GradeData(options, load_config(AdaptConfig, None, options.set)))
    rows = [Row(name, name) for name in options.methods]
    for row in rows:
        for seed in range(options.seeds):
            bench.result(row, seed)
    print(table(bench, rows, range(options.seeds)))


if __name__ == "__main__":
    main(sys.argv[1:])
