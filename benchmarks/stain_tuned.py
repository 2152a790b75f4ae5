"""Five centres again, with a classifier whose encoder learns: does normalization carry that?

    python benchmarks/stain_tuned.py --out DIR [--device cuda --jobs 4]

DIR is that of stain_centres.py, whose stain models and slides are used. A network that is tuned on
tiles of centre 0, as most classifiers are, leans on its colors more than frozen features do. It
sees quarter turns and mirroring; color is varied only where the table says so.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import stain_cohort as cohort
from measure import keep_to_cores
from stain_centres import CLASSICAL, HELD_OUT, NUM_CENTRES, balanced_accuracy, interval, rendered
from stain_scanners import spread

METHODS = (
    "none", "none + augmentation", *CLASSICAL[1:], "conditional, film", "plain", "intermediate",
    "conditional, film, lut", "plain, lut", "conditional, planes, lut",
    "conditional, as published, lut", "macenko + augmentation",
    "conditional, film, lut + augmentation",
)  # fmt: skip
EDGE_PX, BATCH, EPOCHS, RATE, HEAD_RATE = 128, 32, 8, 3e-4, 3e-3


@dataclass(frozen=True)
class Job:
    """One way of normalizing, with one seed of classifier and stain model."""

    options: argparse.Namespace
    name: str
    seed: int


def run_job(job: Job) -> dict[str, Any]:
    """Render, train the classifier on centre 0, and test it in each centre."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    from pathology.stain.config import StainConfig
    from pathology.stain.fit import fit_reference
    from pathology.stain.learned import LearnedModel

    folder = job.options.out / "slides"
    train, test, targets = (
        cohort.load(next(folder.glob(f"*_{part}.npz"))) for part in ("103_*", "104_*", "102_*")
    )
    name, is_varied = job.name.removesuffix(" + augmentation"), job.name.endswith("augmentation")
    kind = name.removesuffix(", lut")
    if kind in CLASSICAL:
        model: Any = fit_reference([s.tiles[0] for s in targets], StainConfig(method=kind))
    else:
        path = job.options.out / f"{kind.replace(', ', '_')}_{job.seed}.pt"
        model = LearnedModel.load(path, job.options.device)
    config = StainConfig(quality="lut" if name.endswith(", lut") else "teacher")

    def shown(slides: list[Any], centre: int) -> np.ndarray:
        whole = np.concatenate([rendered(model, slide.tiles[centre], config) for slide in slides])
        edge = (EDGE_PX, EDGE_PX)
        return np.stack([cv2.resize(t, edge, interpolation=cv2.INTER_AREA) for t in whole])

    grades = np.concatenate([slide.grades for slide in train])
    slides = np.concatenate([[i] * len(s.grades) for i, s in enumerate(train)])
    network = tuned(shown(train, 0), grades, slides, job.seed, job.options.device, is_varied)
    truth = np.concatenate([slide.grades for slide in test])
    guesses = [predicted(network, shown(test, c), job.options.device) for c in range(NUM_CENTRES)]
    accuracy = [round(balanced_accuracy(truth, guess), 4) for guess in guesses]
    told = {"guesses": [guess.tolist() for guess in guesses]}
    return {"name": job.name, "seed": job.seed, "accuracy": accuracy, **told}


def tuned(
    tiles_NHW3: np.ndarray,
    grades: np.ndarray,
    slides: np.ndarray,
    seed: int,
    device: str,
    is_varied: bool,
) -> Any:
    """EfficientNet-lite0 trained as a whole on the tiles of slides drawn with replacement."""
    import torch
    from torch import nn

    from pathology.data.augment import AugmentConfig, augment
    from pathology.models.encode import to_images
    from pathology.models.encoder import OFFLINE, make_encoder

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    drawn = random.choice(np.unique(slides), len(np.unique(slides)))
    rows = np.concatenate([np.flatnonzero(slides == slide) for slide in drawn])
    encoder = make_encoder(OFFLINE)
    head = nn.Sequential(nn.Dropout(0.2), nn.Linear(encoder.num_features, 3))
    network = nn.Sequential(encoder, head).to(device, memory_format=torch.channels_last)
    groups = [
        {"params": encoder.parameters(), "lr": RATE}, {"params": head.parameters(), "lr": HEAD_RATE}
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    steps = EPOCHS * (len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    weight_C = 1 / np.bincount(grades[rows], minlength=3)
    weight = torch.tensor(weight_C / weight_C.mean(), dtype=torch.float32, device=device)
    strong = AugmentConfig(stain=0.35, color=0.2, light=0.15)
    vary = strong if is_varied else AugmentConfig(stain=0, color=0, light=0, blur_px=0, scale=0)
    for step in range(steps):
        place = step % (len(rows) // BATCH) * BATCH
        if not place:
            rows = random.permutation(rows)
        mine = rows[place : place + BATCH]
        images = augment(to_images(tiles_NHW3[mine], device), random, vary)
        logits = network.train()(images.contiguous(memory_format=torch.channels_last))
        label = torch.from_numpy(grades[mine]).to(device)
        loss = nn.functional.cross_entropy(logits, label, weight=weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def predicted(network: Any, tiles_NHW3: np.ndarray, device: str) -> np.ndarray:
    """Grades (N,) of tiles."""
    import torch

    from pathology.models.encode import to_images

    with torch.inference_mode():
        found = [
            network(to_images(tiles_NHW3[start : start + 128], device)).argmax(dim=1).cpu()
            for start in range(0, len(tiles_NHW3), 128)
        ]
    return np.asarray(torch.cat(found).numpy())


def table(found: list[dict[str, Any]], out: Path) -> str:
    """Markdown: accuracy by centre with intervals by slide, the mean, and beside none's."""
    test = cohort.load(next((out / "slides").glob("*_104_*.npz")))
    truth = np.concatenate([slide.grades for slide in test])
    slide = np.concatenate([[i] * len(s.grades) for i, s in enumerate(test)])
    heads = [f"centre {c}{' (held out)' if c == HELD_OUT else ''}" for c in range(NUM_CENTRES)]
    lines = [f"| method | {' | '.join(heads)} | mean of five | beside none |", "|---" * 8 + "|"]
    plain = {one["seed"]: np.mean(one["accuracy"]) for one in found if one["name"] == "none"}
    for name in METHODS:
        runs = [one for one in found if one["name"] == name]
        if not runs:
            continue
        cells = []
        for c in range(NUM_CENTRES):
            guesses = [np.array(run["guesses"][c]) for run in runs]
            low, high = interval(truth, guesses, slide)
            values = [run["accuracy"][c] for run in runs]
            cells.append(f"{spread(values, 3)} [{low:.2f}, {high:.2f}]")
        cells.append(spread([np.mean(run["accuracy"]) for run in runs], 3))
        gains = [np.mean(r["accuracy"]) - plain[r["seed"]] for r in runs if r["seed"] in plain]
        cells.append(f"{np.mean(gains):+.3f} (least {min(gains):+.3f})" if gains else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="that of stain_centres.py")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(words)
    if options.device == "cpu":
        keep_to_cores(options.jobs)
    kept = options.out / "tuned.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    known = {(one["name"], one["seed"]) for one in found}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [Job(options, name, seed) for seed in seeds for name in options.methods]
    left = [job for job in jobs if (job.name, job.seed) not in known]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_job, job) for job in left]):
            found.append(done.result())
            with kept.open("a") as stream:
                stream.write(json.dumps(found[-1]) + "\n")
            shown = {k: v for k, v in found[-1].items() if k != "guesses"}
            print(json.dumps(shown), flush=True)
    print(table(found, options.out))


if __name__ == "__main__":
    main(sys.argv[1:])
