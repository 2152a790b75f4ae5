"""What does normalizing the stain give to tile classifiers that slide labels teach?

On the slides of weak_methods.py, in the same folder if wished: each of the five centres is left
out in turn, and is what the others' tile classifier is tested on; or none is (--left-out none).
All tiles pass through a stain model first. It is fitted or trained, without labels, on the slides
that teach, and renders them as centre 0 would show them (centre 1, where 0 is left out). A learned
one is trained anew for each seed; what is done is kept, and not done again.
"""

import argparse
import csv
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from manifests import write_rows
from measure import keep_to_cores
from stain_scanners import spread
from weak_methods import (
    Job,
    add_options,
    encode,
    encode_tiles,
    make_cohort,
    pathology,
    run_job,
    tile,
)
from weak_methods import table as table_of_methods

WAYS = ("none", "reinhard", "macenko", "vahadane", "conditional")
LEARNED = WAYS[-1]
CENTRES = tuple(f"centre{number}" for number in range(5))
NONE = "none"  # of the centres; all are known, and test
METHODS = ("rce-ut",)
FIGURE = "tile balanced_accuracy"
Runs = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Fold:
    """One centre left out, or none."""

    options: argparse.Namespace
    left_out: str

    @property
    def folder(self) -> Path:
        folder: Path = self.options.out / f"without_{self.left_out}"
        return folder

    @property
    def target(self) -> str:
        return CENTRES[self.left_out == CENTRES[0]]

    def write(self, manifest: Path) -> Path:
        """The manifests of the fold's slides, and of those that stain models learn from."""
        with manifest.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            row |= {name: str(manifest.parent / row[name]) for name in ("slide_path", "truth_path")}
        self.folder.mkdir(parents=True, exist_ok=True)
        known = [r for r in rows if r["centre"] != self.left_out and r["split"] != "test"]
        teach = [r for r in known if r["split"] == "train"]
        is_asked = {self.left_out} if self.left_out != NONE else set(CENTRES)
        test = [r for r in rows if r["centre"] in is_asked and r["split"] == "test"]
        write_rows(self.folder / "target.csv", [r for r in teach if r["centre"] == self.target])
        write_rows(self.folder / "sources.csv", teach)
        return write_rows(self.folder / "manifest.csv", [*known, *test])

    def features(self, manifest: Path, way: str, seed: int) -> Path:
        """Features of tiles, of those of the fold at least, after one way of normalizing.

        A classical style is the same in all folds of one target, and renders all slides.
        """
        options = self.options
        if way == "none":
            return encode_tiles(options, manifest)
        name, slides, run = f"{way}_{self.target}", manifest, options.out / "run"
        if way == LEARNED:
            name, slides, run = f"{way}_{seed}", self.folder / "manifest.csv", self.folder / "run"
        folder = run.parent
        features, rendered = folder / f"features_{name}", folder / f"run_{name}"
        if not (folder / f"{name}.done").exists():
            tile(options, slides, run)
            pathology("stain", "apply", run, "--model", self.model(way, seed), "--out", rendered)
            encode(options, rendered, features, manifest)
            shutil.rmtree(rendered)
            (folder / f"{name}.done").touch()
        return features

    def model(self, way: str, seed: int) -> Path:
        """The stain model, fitted to the target, or trained towards it."""
        target = self.folder / "target.csv"
        if way != LEARNED:
            path = self.folder / f"{way}.json"
            pathology("stain", "fit", "--method", way, "--target", target, "--out", path)
            return path
        path = self.folder / f"{way}_{seed}.pt"
        pathology(
            "stain", "train", self.folder / "sources.csv", "--target", target, "--out", path,
            "--set", f"seed={seed}", "--device", self.options.device,
        )  # fmt: skip
        return path


def jobs_of(options: argparse.Namespace, manifest: Path, way: str, seed: int) -> list[Job]:
    """The trainings of one way and seed, whose features are made first."""
    jobs = []
    for left_out in options.left_out:
        fold = Fold(options, left_out)
        mine = fold.write(manifest)
        features = fold.features(manifest, way, seed)
        label = f"{way}_{options.label}"
        ways = argparse.Namespace(**vars(options) | {"out": fold.folder, "label": label})
        jobs += [Job(ways, features, mine, method, seed) for method in options.methods]
    return jobs


def run_way(options: argparse.Namespace, manifest: Path, way: str, seed: int) -> Runs:
    """The figures of each method in each centre that was left out."""
    jobs = jobs_of(options, manifest, way, seed)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(run_job, jobs))
    return {
        f"{job.method} {job.options.out.name.removeprefix('without_')}": run
        for job, run in zip(jobs, runs, strict=True)
    }


def table(found: dict[str, list[Runs]], method: str, left_out: list[str]) -> str:
    """Markdown: by way and centre, mean and standard deviation over seeds, and of their mean."""
    lines = [f"| {method} | {' | '.join(f'{c} left out' for c in left_out)} | mean | worst |"]
    lines.append("|---" + "|--:" * (len(left_out) + 2) + "|")
    for way, runs in found.items():
        by_centre = [[run[f"{method} {centre}"][FIGURE] for run in runs] for centre in left_out]
        means = [sum(values) / len(values) for values in zip(*by_centre, strict=True)]
        cells = [spread(values, 3) for values in (*by_centre, means)]
        lines.append(f"| {way} | {' | '.join(cells)} | {min(means):.3f} |")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maker", type=Path, help="make_slides.py, the cohort maker")
    parser.add_argument("--split-by", choices=("field", "case"), default="field")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--left-out", nargs="*", choices=(*CENTRES, NONE), default=list(CENTRES))
    add_options(parser, METHODS, tile_px=256)
    options = parser.parse_args(words)
    options.pixels, options.precision = False, "32"
    if options.device == "cpu":
        keep_to_cores(2)
    manifest = make_cohort(options)
    found: dict[str, list[Runs]] = {way: [] for way in options.ways}
    for seed in range(options.seeds):
        for way in options.ways:
            found[way].append(run_way(options, manifest, way, seed))
            told = {name: run[FIGURE] for name, run in found[way][-1].items()}
            print(way, seed, told, flush=True)
    for method in options.methods if options.left_out != [NONE] else ():
        print(f"\n{table(found, method, options.left_out)}")
    for way, runs in found.items() if options.left_out == [NONE] else ():
        each = {m: [run[f"{m} {NONE}"] for run in runs] for m in options.methods}
        print(f"\n{way}\n\n{table_of_methods(each)}")


if __name__ == "__main__":
    main(sys.argv[1:])
