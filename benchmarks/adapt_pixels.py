"""Carried from slides to microscope photos, the encoder learning, too: every way, over seeds.

    python benchmarks/adapt_pixels.py --data DIR --out DIR [--device cuda --precision bf16 --jobs 4]

GlaS fields teach (224 px, 0.62 um/px), LC25000's colon photos are the target: of its groups 60 %
without labels, 40 % test.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from manifests import colon_rows, write_rows
from measure import keep_to_cores
from stain_scanners import spread

ADAPT_SHARE = 0.6
Row = dict[str, str]
WAYS: dict[str, tuple[str, ...]] = {
    "source": ("method=source",),
    "dman": ("method=dman",),
    "dman, statistics of both domains mixed": ("method=dman", "batch_norm=shared"),
    "dman, separate statistics": ("method=dman", "batch_norm=separate"),
    "adabn": ("method=adabn",),
    "dman+mcc, adapted statistics": ("method=dman+mcc", "batch_norm=adapted"),
    "dann": ("method=dann",),
    "mcc": ("method=mcc",),
    "mic": ("method=mic",),
    "dman+mcc": ("method=dman+mcc",),
    "dman+mcc+mic": ("method=dman+mcc+mic",),
    "target": ("method=target",),
}


@dataclass(frozen=True)
class Job:
    """One way with one seed."""

    options: argparse.Namespace
    way: str
    seed: int

    @property
    def folder(self) -> Path:
        name = self.way.replace(", ", "_").replace(" ", "-")
        path: Path = self.options.out / self.options.label / f"{name}_{self.seed}"
        return path


def split(rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Both parts of the target; copies of one photo are never in two."""
    groups = np.unique([row["case_id"] for row in rows])
    names = np.random.default_rng([seed, 7]).permutation(groups)
    adapt = set(names[: round(ADAPT_SHARE * len(names))].tolist())
    return (
        [row for row in rows if row["case_id"] in adapt],
        [row for row in rows if row["case_id"] not in adapt],
    )


def run_job(job: Job) -> dict[str, Any]:
    """Train, save, predict and judge, or find it done."""
    import torch

    options, folder = job.options, job.folder
    if options.device == "cpu":
        torch.set_num_threads(max(1, 2 // options.jobs))
    from pathology.adapt.balance import probabilities
    from pathology.adapt.config import AdaptConfig
    from pathology.adapt.network import TARGET
    from pathology.core.config import load_config
    from pipelines.adapt_domains import AdaptOptions, read_domains
    from pipelines.adapt_look import Looker
    from pipelines.adapt_scores import balanced_accuracy
    from pipelines.adapt_train import train_adapt
    from pipelines.adapt_training import train_on
    from pipelines.input_kinds import look_at

    kept = folder / "found.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    adapt, test = split(colon_rows(options.data, "target"), job.seed)
    source, target, rest = (
        write_rows(folder / f"{name}.csv", rows)
        for name, rows in (
            ("source", colon_rows(options.data, "source")), ("a", adapt), ("t", test)
        )
    )  # fmt: skip
    config = load_config(AdaptConfig, None, [*options.set, *WAYS[job.way], f"seed={job.seed}"])
    ways = AdaptOptions(device=options.device, precision=options.precision)
    if options.head:  # the commands one after the other
        plain = load_config(AdaptConfig, None, [*WAYS[job.way], f"seed={job.seed}"])
        domains = read_domains(look_at(source), look_at(target), plain, ways, folder / "data")
        train_adapt(domains, folder / "head.pt", plain, ways)
        ways = replace(ways, start=folder / "head.pt")
    domains = read_domains(look_at(source), look_at(target), config, ways, folder / "data")
    model = train_on(domains, config, ways, folder / "run")
    domains.remove_files()
    as_they_are = config.model_copy(update={"augmented": 0})
    held_back = read_domains(look_at(source), look_at(rest), as_they_are, ways, folder / "data")
    features = Looker(model, config, is_fast=True)(held_back.target, TARGET)
    answers = probabilities(model, features, TARGET)
    accuracy = balanced_accuracy(held_back.target.label_N, answers)
    held_back.remove_files()
    found = {"way": job.way, "seed": job.seed, "accuracy": round(accuracy, 5)}
    kept.write_text(json.dumps(found))
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation, worst, and the least lead over the source alone."""
    plain = {one["seed"]: one["accuracy"] for one in found if one["way"] == "source"}
    lines = ["| | balanced accuracy | worst | least lead over source |", "|---|--:|--:|--:|"]
    for way in WAYS:
        mine = {one["seed"]: one["accuracy"] for one in found if one["way"] == way}
        if mine:
            leads = [value - plain[seed] for seed, value in mine.items() if seed in plain]
            lead = f"{min(leads):+.3f}" if leads else ""
            values = list(mine.values())
            lines.append(f"| {way} | {spread(values, 3)} | {min(values):.3f} | {lead} |")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("PATHOLOGY_DATA", ""))
    parser.add_argument("--data", type=Path, default=data, help="holds glas and lc25000_colon")
    parser.add_argument("--out", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--label", default="pixels", help="folder of these settings' models")
    parser.add_argument(
        "--head", action="store_true", help="start from a head that learned on frozen features"
    )
    parser.add_argument("--set", action="append", default=["encoder_rate=0.1"], metavar="KEY=VALUE")
    options = parser.parse_args(words)
    if options.device == "cpu":
        keep_to_cores(2)
    jobs = [Job(options, way, seed) for seed in range(options.seeds) for way in options.ways]
    found = []
    lines = options.out / f"{options.label}.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_job, job) for job in jobs]):
            found.append(done.result())
            print(json.dumps(found[-1]), flush=True)
            with lines.open("a") as stream:
                stream.write(json.dumps(found[-1]) + "\n")
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
