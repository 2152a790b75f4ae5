"""Five centres, one classifier: does normalization carry it from centre 0 to the others?

A tile classifier (frozen ImageNet features, logistic head) is trained on tiles of centre 0 and
tested on the same slides as each of five simulated centres would have stained and scanned them.
Both pass through the normalizer first.
Centre 4 is in no stain training. The re-rendering is exact, so every method is also scored
against what it should have given: PSNR to the slide as centre 0 would show it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import stain_cohort as cohort
from measure import keep_to_cores
from stain_cohort import HELD_OUT, NUM_CENTRES, Slide
from stain_features import augmented, extract
from stain_scanners import spread

CLASSICAL = ("none", "reinhard", "macenko", "vahadane", "histogram")
LEARNED: dict[str, dict[str, Any]] = {
    "conditional, film": {"condition": "film"},
    "plain": {"condition": "none"},
    "conditional, planes": {"condition": "planes"},
    "conditional, as published": {"is_source_told": False},
    "intermediate": {"intermediate": "grey"},
}
BY_GENERATOR = ("conditional, film", "plain")  # the other learned ones by a slide's table alone
AUGMENTED = ("none", "macenko", "conditional, film, lut")
NUM_BOOTSTRAP = 1000
NUM_AUGMENTED = 4


@dataclass(frozen=True)
class Job:
    """One way of normalizing: render the test slides and take their features."""

    options: argparse.Namespace
    name: str
    seed: int

    @property
    def path(self) -> Path:
        return self.options.out / f"{self.name.replace(', ', '_')}_{self.seed}"

    @property
    def train_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}_train.npy")


@dataclass(frozen=True)
class Data:
    """Slides to learn stains from, to train the classifier on, and to test on."""

    sources: list[Slide]
    targets: list[Slide]
    train: list[Slide]
    test: list[Slide]


def read_data(options: argparse.Namespace) -> Data:
    """Paint all slides, or find them painted."""
    maker = cohort.load_maker(options.maker)
    folder, by = options.out / "slides", options.split_by
    num = options.stain_slides
    mixed = [[number // 3 % HELD_OUT] for number in range(num)]  # every label in every centre
    zero = [[0]] * max(num, options.train_slides)
    every = [list(range(NUM_CENTRES))] * options.test_slides
    tiles = options.tiles_per_slide
    return Data(
        cohort.make_slides(maker, folder, (by, "train"), num, 101, mixed, tiles),
        cohort.make_slides(maker, folder, (by, "train"), num // 2, 102, zero, tiles),
        cohort.make_slides(maker, folder, (by, "train"), options.train_slides, 103, zero, tiles),
        cohort.make_slides(maker, folder, (by, "test"), options.test_slides, 104, every, tiles),
    )


def model_of(job: Job, data: Data, kind: str) -> Any:
    """The stain model of a job, trained or fitted to centre 0."""
    from pathology.core.config import load_config
    from pathology.stain.config import StainConfig
    from pathology.stain.cycle_config import CycleConfig
    from pathology.stain.fit import fit_reference
    from pathology.stain.learned import LearnedModel
    from pipelines.stain_domains import domains_of
    from pipelines.stain_train import TrainOptions, train_on

    targets = [slide.tiles[0] for slide in data.targets]
    if kind not in LEARNED:
        return fit_reference(targets, StainConfig(method=kind))
    base = load_config(CycleConfig, None, job.options.set)
    config = base.model_copy(update={**LEARNED[kind], "seed": job.seed})
    path = job.options.out / f"{kind.replace(', ', '_')}_{job.seed}.pt"
    if path.exists() and LearnedModel.load(path).card.config == config:
        return LearnedModel.load(path)
    sources = [(tiles, f"centre{c}") for slide in data.sources for c, tiles in slide.tiles.items()]
    domains = domains_of([tiles for tiles, _ in sources], [name for _, name in sources], targets)
    return train_on(
        domains, "centre0", path, config, TrainOptions(device="cpu", panel_every=200), ""
    )


def train_job(job: Job) -> str:
    """Train a learned model alone, which several jobs then render with."""
    import torch

    torch.set_num_threads(1)
    model_of(job, read_data(job.options), job.name)
    return job.name


def run_job(job: Job) -> dict[str, Any]:
    """Features of all test tiles by one way of normalizing, kept in a file, and PSNR by centre."""
    import torch

    torch.set_num_threads(1)
    from pathology.stain.config import StainConfig

    data = read_data(job.options)
    kind = job.name.removesuffix(", lut")
    model = model_of(job, data, kind)
    config = StainConfig(quality="lut" if job.name.endswith(", lut") else "teacher")
    found: dict[str, Any] = {"name": job.name, "seed": job.seed, "psnr": []}
    train = np.concatenate([rendered(model, slide.tiles[0], config) for slide in data.train])
    features, errors = [extract(train)], []
    if job.name in AUGMENTED:
        features += [extract(augmented(train, seed)) for seed in range(NUM_AUGMENTED)]
    np.save(job.train_path, np.concatenate(features).astype(np.float16))
    features = []
    for slide in data.test:
        for centre in range(NUM_CENTRES):
            tiles = rendered(model, slide.tiles[centre], config)
            features.append(extract(tiles))
            errors.append(np.mean((tiles.astype(float) - slide.tiles[0]) ** 2))
    error = np.array(errors).reshape(len(data.test), NUM_CENTRES).mean(axis=0)
    found["psnr"] = (10 * np.log10(255**2 / np.maximum(error, 1e-6))).round(2).tolist()
    np.save(job.path.with_suffix(".npy"), np.concatenate(features).astype(np.float16))
    return found


def rendered(model: Any, tiles: np.ndarray, config: Any) -> np.ndarray:
    """A slide's tiles, normalized as one slide."""
    made: np.ndarray = model.for_slide(tiles, config).render(tiles).tiles
    return made


def head_of(features: np.ndarray, grades: np.ndarray, slides: np.ndarray, seed: int) -> Any:
    """A logistic head on the tiles of slides drawn with replacement, another draw each seed."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(seed)
    names = np.unique(slides)
    drawn = random.choice(names, len(names))
    rows = np.concatenate([np.flatnonzero(slides == name) for name in drawn])
    head = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced")
    )
    return head.fit(features[rows], grades[rows])


def balanced_accuracy(truth: np.ndarray, guess: np.ndarray) -> float:
    """Mean recall over the grades that occur."""
    return float(np.mean([(guess[truth == grade] == grade).mean() for grade in np.unique(truth)]))


def interval(truth: np.ndarray, guesses: Sequence[np.ndarray], slides: np.ndarray) -> list[float]:
    """95 % of the balanced accuracy, mean over seeds, when slides are drawn anew."""
    random = np.random.default_rng(0)
    rows_of = [np.flatnonzero(slides == slide) for slide in np.unique(slides)]
    found = []
    for _ in range(NUM_BOOTSTRAP):
        rows = np.concatenate(
            [rows_of[i] for i in random.integers(len(rows_of), size=len(rows_of))]
        )
        found.append(np.mean([balanced_accuracy(truth[rows], guess[rows]) for guess in guesses]))
    return np.percentile(found, [2.5, 97.5]).round(3).tolist()


def judge(options: argparse.Namespace, data: Data, done: list[dict[str, Any]]) -> list[dict]:
    """Accuracy of every method in every centre: mean and spread over seeds, interval by slide."""
    grades = np.concatenate([slide.grades for slide in data.train])
    slides = np.concatenate([[i] * len(s.grades) for i, s in enumerate(data.train)])
    centre = np.concatenate([[c] * len(s.grades) for s in data.test for c in range(NUM_CENTRES)])
    truth = np.concatenate([s.grades for s in data.test for _ in range(NUM_CENTRES)])
    slide = np.concatenate(
        [[i] * len(s.grades) for i, s in enumerate(data.test) for _ in range(NUM_CENTRES)]
    )
    rows = []
    for name in dict.fromkeys(found["name"] for found in done):
        runs = [found for found in done if found["name"] == name]
        for suffix in ("", " + augmentation") if name in AUGMENTED else ("",):
            copies = 1 + NUM_AUGMENTED if suffix else 1
            guesses = []
            for seed in range(options.seeds):
                run = runs[min(seed, len(runs) - 1)]
                job = Job(options, name, run["seed"])
                seen = np.load(job.train_path).astype(np.float32)[: copies * len(grades)]
                head = head_of(seen, np.tile(grades, copies), np.tile(slides, copies), seed)
                features = np.load(job.path.with_suffix(".npy")).astype(np.float32)
                guesses.append(head.predict(features))
            row: dict[str, Any] = {"name": name + suffix, "centres": []}
            for c in range(NUM_CENTRES):
                mine = centre == c
                values = [balanced_accuracy(truth[mine], guess[mine]) for guess in guesses]
                bounds = interval(truth[mine], [guess[mine] for guess in guesses], slide[mine])
                row["centres"].append({"values": values, "interval": bounds})
            row["psnr"] = np.mean([run["psnr"] for run in runs], axis=0).round(2).tolist()
            row["psnr_sd"] = np.std([np.mean(run["psnr"][1:]) for run in runs]).round(2)
            rows.append(row)
    return rows


def tables(rows: list[dict[str, Any]]) -> str:
    """Markdown: accuracy by centre with intervals, then PSNR to the truth by centre."""
    heads = [f"centre {c}{' (held out)' if c == HELD_OUT else ''}" for c in range(NUM_CENTRES)]
    lines = [f"| method | {' | '.join(heads)} | mean of five |", "|---" * 7 + "|"]
    for row in rows:
        cells = []
        for found in row["centres"]:
            low, high = found["interval"]
            cells.append(f"{spread(found['values'], 3)} [{low:.2f}, {high:.2f}]")
        means = np.mean([found["values"] for found in row["centres"]], axis=0)
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {spread(list(means), 3)} |")
    lines += ["", f"| method | {' | '.join(f'centre {c}' for c in range(5))} | mean of 1 to 4 |"]
    lines += ["|---" + "|--:" * 6 + "|"]
    for row in rows:
        if "augmentation" in row["name"]:
            continue
        shown = " | ".join("exact" if v > 90 else f"{v:.1f}" for v in row["psnr"])
        mean = np.mean(row["psnr"][1:])
        lines.append(f"| {row['name']} | {shown} | {mean:.2f} ± {row['psnr_sd']:.2f} |")
    return "\n".join(lines)


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maker", type=Path, help="make_slides.py, the cohort maker")
    parser.add_argument("--out", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--split-by", choices=("field", "case"), default="field")
    parser.add_argument("--stain-slides", type=int, default=24)
    parser.add_argument("--train-slides", type=int, default=45)
    parser.add_argument("--test-slides", type=int, default=24)
    parser.add_argument("--tiles-per-slide", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", default=list(LEARNED))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    options = parse(words)
    keep_to_cores(options.jobs)
    options.out.mkdir(parents=True, exist_ok=True)
    data = read_data(options)
    jobs = [Job(options, name, 0) for name in CLASSICAL]
    for seed in range(options.seeds):
        for kind in options.kinds:
            if kind in BY_GENERATOR:
                jobs.append(Job(options, kind, seed))
            jobs.append(Job(options, f"{kind}, lut", seed))
    path = options.out / "done.json"
    done: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    known = {(found["name"], found["seed"]) for found in done}
    left = [job for job in jobs if (job.name, job.seed) not in known]
    kinds = dict.fromkeys((job.name.removesuffix(", lut"), job.seed) for job in left)
    models = [Job(options, kind, seed) for kind, seed in kinds if kind in LEARNED]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        list(pool.map(train_job, models))
        for found in pool.map(run_job, left):
            print(json.dumps(found), flush=True)
            done.append(found)
            path.write_text(json.dumps(done))
    rows = judge(options, data, done)
    (options.out / "accuracy.json").write_text(json.dumps(rows, indent=1))
    print(tables(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
