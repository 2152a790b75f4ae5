"""Which method learns to grade tiles where the tissue that gives slides their grade is rare?

Simulated slides of three ordered grades. Slides to train and to choose on are made four times,
about 50, 20, 5 and 1 % of their tissue being of the slide's grade; the test slides are the same
for all, some of each share. All else, and what the figures are, is as in weak_methods.py.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests import write_rows
from measure import keep_to_cores
from stain_scanners import spread
from weak_methods import COLUMNS, METHODS, add_options, encode_tiles, run_all, table

from pathology.simulate.centre import CENTRES
from pathology.simulate.cohort import simulate_cohort
from pathology.simulate.slide import SlideConfig

SHARES = {50: (0.4, 0.6), 20: (0.15, 0.25), 5: (0.03, 0.07), 1: (0.005, 0.015)}  # by percent
SIZE_UM = (2400, 2250)
NUM = {"train": 24, "val": 12, "test": 9}  # slides of each share


@dataclass(frozen=True)
class Part:
    """Slides of one share that train, choose or test. Seeds are those of the other shares."""

    name: str
    percent: int

    @property
    def seed(self) -> int:
        return list(NUM).index(self.name) * 100 + (self.percent if self.name == "test" else 0)

    def make(self, out: Path) -> Iterator[dict[str, str]]:
        """The rows of its slides, simulated or found so, for a manifest in the folder out."""
        folder = f"{self.name}_{self.percent}"
        manifest = out / folder / "manifest.csv"
        if not manifest.exists():  # it is written last
            config = SlideConfig(size_um=SIZE_UM, top_share=SHARES[self.percent])
            simulate_cohort(
                out / folder, num_slides=NUM[self.name], seed=self.seed, num_centres=len(CENTRES),
                slide_config=config,
            )  # fmt: skip
        with manifest.open(newline="") as stream:
            for row in csv.DictReader(stream):
                row |= {name: f"{folder}_{row[name]}" for name in ("slide_id", "case_id")}
                row |= {name: f"{folder}/{row[name]}" for name in ("slide_path", "truth_path")}
                yield row | {"split": self.name}


def make_cohorts(out: Path) -> dict[str, Path]:
    """The manifest of each share, by its percent, and that of all slides, as "all"."""
    test = [row for percent in SHARES for row in Part("test", percent).make(out)]
    rows = {
        str(percent): [r for name in ("train", "val") for r in Part(name, percent).make(out)]
        for percent in SHARES
    }
    rows["all"] = [row for of_share in rows.values() for row in of_share]
    return {
        name: write_rows(out / f"manifest_{name}.csv", [*chosen, *test])
        for name, chosen in rows.items()
    }


def fall(found: dict[str, dict[str, list[dict[str, float]]]], column: str) -> str:
    """Markdown: one figure by method and share, mean and standard deviation over seeds."""
    lines = [f"| {column} | {' | '.join(f'{share} %' for share in found)} |"]
    lines.append("|---" + "|--:" * len(found) + "|")
    for method in next(iter(found.values())):
        cells = [spread([run[column] for run in runs[method]], 3) for runs in found.values()]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, METHODS, tile_px=128, label="share")
    parser.add_argument("--shares", nargs="*", type=int, choices=list(SHARES), default=list(SHARES))
    options = parser.parse_args(words)
    if options.device == "cpu":
        keep_to_cores(2)
    manifests = make_cohorts(options.out / "cohort")
    features = encode_tiles(options, manifests.pop("all"))
    found = {}
    for share in map(str, options.shares):
        ways = {"label": f"{options.label}_{share}", "pixels": False, "precision": "32"}
        of_share = argparse.Namespace(**vars(options) | ways)
        found[share] = run_all(of_share, features, manifests[share])
    for share, runs in found.items():
        print(f"\n{share} %\n\n{table(runs)}")
    for level, metric in COLUMNS:
        print(f"\n{fall(found, f'{level} {metric}')}")


if __name__ == "__main__":
    main(sys.argv[1:])
