"""Which method learns to grade tiles from slide labels? All on the same slides, over seeds.

The cohort maker paints slides of real fields whose worst grade is their label and whose map of
grades is known. Tiles are cut, encoded once by a frozen encoder (with --pixels, the encoder is
trained, too, from a head that learned on the features of the frozen one), and every method is
trained on the labels alone, the oracle on the maps. Which weights are kept and how tiles grade a
slide is decided on val; figures are of test. What is done is kept, and not done again.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from manifests import write_rows
from measure import keep_to_cores
from stain_scanners import spread

from pathology.core.config import load_config
from pathology.core.manifest import read_manifest
from pathology.weak.config import WeakConfig
from pipelines.evaluate import evaluate
from pipelines.predict import predict
from pipelines.prediction_tables import read_slide_predictions, read_tile_predictions, slides_table
from pipelines.weak_train import WeakOptions, train_weak

METHODS = (
    "oracle", "forward", "rce-ut", "rce", "ut", "ce", "em", "mean", "max", "topk", "abmil",
    "clam-sb", "clam-mb", "dsmil", "transmil",
)  # fmt: skip
HEAD_EPOCHS = 10  # on features, before the encoder learns, too
PARTS = (("train", 45, 1), ("val", 18, 2), ("test", 60, 3))
COLUMNS = (
    ("tile", "balanced_accuracy"), ("tile", "auroc"), ("tile", "auroc_carcinoma"),
    ("tile", "upper_rate"), ("slide", "auroc_carcinoma"), ("slide", "accuracy"),
)  # fmt: skip


def pathology(*words: object) -> None:
    """One command, as a user gives it."""
    subprocess.run([sys.executable, "-m", "pipelines", *map(str, words)], check=True)


def make_cohort(options: argparse.Namespace) -> Path:
    """The manifest of all slides. The maker adds to what it finds, so each part has a folder."""
    rows: list[dict[str, str]] = []
    for part, num, seed in PARTS:
        folder = options.out / "cohort" / part
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run(
                [
                    sys.executable, options.maker, "cohort", "--out", folder, "--split", part,
                    "--split-by", options.split_by, "--slides", str(num), "--seed", str(seed),
                ],
                check=True,
            )  # fmt: skip
            (folder / "done").touch()
        with (folder / "manifest.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                paths = {name: f"{part}/{row[name]}" for name in ("slide_path", "truth_path")}
                rows.append(row | paths)
    return write_rows(options.out / "cohort" / "manifest.csv", rows)


def encode_tiles(options: argparse.Namespace, manifest: Path) -> Path:
    """The slides of a manifest, tiled and encoded, or found so: the folder of features."""
    run, features = options.out / "run", options.out / "features"
    tile(options, manifest, run)
    encode(options, run, features, manifest)
    return features


def tile(options: argparse.Namespace, manifest: Path, run: Path) -> None:
    """The slides of a manifest, tiled."""
    size = f"tile.size_px={options.tile_px}"
    pathology("tile", manifest, "--out", run, "--set", "tile.mpp=0.62", "--set", size)


def encode(options: argparse.Namespace, run: Path, features: Path, manifest: Path) -> None:
    """The tiles of a run, encoded; if varied, those of slides that train alone."""
    settings = [word for setting in options.features for word in ("--set", setting)]
    ways = ("--encoder", options.encoder, "--labels", manifest, "--device", options.device)
    pathology("features", run, "--out", features, *ways, *settings)


@dataclass(frozen=True)
class Job:
    """One method with one seed."""

    options: argparse.Namespace
    features: Path
    manifest: Path
    method: str
    seed: int

    @property
    def folder(self) -> Path:
        return self.options.out / self.options.label / f"{self.method}_{self.seed}"


def run_job(job: Job) -> dict[str, Any]:
    """Train one method with one seed, or find it trained, and judge it on test."""
    import torch

    options, folder = job.options, job.folder
    if options.device == "cpu":
        torch.set_num_threads(max(1, 2 // options.jobs))
    kept = folder / "eval" / "metrics.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        model, data = folder / "model.pt", job.features
        said = [f"method={job.method}", f"seed={job.seed}"]
        config = load_config(WeakConfig, None, [*options.set, *said, f"encoder={options.encoder}"])
        ways = WeakOptions(device=options.device)
        if options.pixels:  # the commands one after the other, without starting Python each time
            head, data = folder / "head.pt", options.out / "run"
            plain = load_config(WeakConfig, None, [*said, f"epochs={HEAD_EPOCHS}"])
            train_weak(job.features, job.manifest, head, plain, WeakOptions(device="cpu"))
            ways = WeakOptions(device=options.device, precision=options.precision, start=head)
        train_weak(data, job.manifest, model, config, ways)
        judged = {r.slide_id for r in read_manifest(job.manifest).slides if r.split != "train"}
        predict(model, data, folder / "predictions.csv", device=options.device, only=judged)
        evaluate(folder / "predictions.csv", job.manifest, folder / "eval", is_brief=True)
    found = json.loads(kept.read_text())
    values = {f"{level} {metric}": _value(found, level, metric) for level, metric in COLUMNS}
    values["slide accuracy"] = _slide_accuracy(folder / "predictions.csv", job.manifest)
    return {"method": job.method, "seed": job.seed, **values}


def _value(found: dict[str, Any], level: str, metric: str) -> float:
    one = found[level]["all"].get(metric)
    return float("nan") if one is None or one["value"] is None else float(one["value"])


def _slide_accuracy(predictions: Path, manifest: Path) -> float:
    """Share of the test slides whose grade is right."""
    grades = read_tile_predictions(predictions).grades
    slides = read_slide_predictions(slides_table(predictions), grades)
    label = {r.slide_id: r.label for r in read_manifest(manifest).slides if r.split == "test"}
    right = [
        grades[grade] == label[name]
        for name, grade in zip(slides.slide_ids, slides.grade_S.tolist(), strict=True)
        if name in label and grade >= 0
    ]
    return float(np.mean(right))


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: mean and standard deviation over seeds, and the worst balanced accuracy."""
    heads = ["balanced accuracy, tiles", "worst", "AUROC", "carcinoma", "above slide"]
    heads += ["carcinoma, slides", "grade, slides"]
    lines = [f"| method | {' | '.join(heads)} |", "|---" + "|--:" * len(heads) + "|"]
    for method, runs in found.items():
        columns = {name: [run[name] for run in runs] for name in runs[0]}
        cells = [spread(columns[f"{level} {metric}"], 3) for level, metric in COLUMNS]
        cells.insert(1, f"{min(columns['tile balanced_accuracy']):.3f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run_all(
    options: argparse.Namespace, features: Path, manifest: Path
) -> dict[str, list[dict[str, float]]]:
    """Every method with every seed: by method, the figures of its seeds. Each is a line, too."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in options.methods}
    jobs = [
        Job(options, features, manifest, method, seed)
        for seed in range(options.seeds)
        for method in options.methods
    ]
    lines = options.out / f"{options.label}.jsonl"
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_job, job) for job in jobs]):
            row = done.result()
            print(json.dumps(row), flush=True)
            with lines.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            found[row["method"]].append({k: v for k, v in row.items() if k != "method"})
    return found


def add_options(
    parser: argparse.ArgumentParser, methods: Sequence[str], tile_px: int, label: str = "models"
) -> None:
    """What all runs over methods and seeds can be told."""
    parser.add_argument("--out", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--methods", nargs="*", default=list(methods))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--encoder", default="tf_efficientnet_lite0")
    parser.add_argument("--features", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--tile-px", type=int, default=tile_px)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--label", default=label, help="folder of these settings' models")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maker", type=Path, help="make_slides.py, the cohort maker")
    parser.add_argument("--split-by", choices=("field", "case"), default="field")
    add_options(parser, METHODS, tile_px=256)
    parser.add_argument("--pixels", action="store_true", help="train the encoder, too")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    options = parse(words)
    if options.device == "cpu":
        keep_to_cores(2)
    manifest = make_cohort(options)
    found = run_all(options, encode_tiles(options, manifest), manifest)
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
