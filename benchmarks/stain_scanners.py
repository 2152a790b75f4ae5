"""Two scanners, the same tissue: which method renders one as the other, never having seen pairs?

Leave one slide out: every method learns the target's colours from the other slides, sees both
scanners unpaired, and is scored on the pairs of the slide left out, residual shift undone.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from environments import peer_python
from measure import keep_to_cores
from PIL import Image

AS_PUBLISHED = {"residual": 0.0, "white_level": 255.0}  # the papers drop what no stain explains
CLASSICAL: dict[str, dict[str, Any]] = {
    "none": {"method": "none"},
    "reinhard": {"method": "reinhard"},
    "macenko": {"method": "macenko"},
    "macenko, no residual": {"method": "macenko", **AS_PUBLISHED},
    "vahadane": {"method": "vahadane"},
    "vahadane, no residual": {"method": "vahadane", **AS_PUBLISHED},
    "histogram": {"method": "histogram"},
}
LEARNED: dict[str, dict[str, Any]] = {
    "conditional": {},
    "plain": {"condition": "none"},
    "conditional, as published": {"is_source_told": False},
    "intermediate": {"intermediate": "grey"},
}
QUALITIES = ("teacher", "student", "lut")
MOSAIC = 4  # tiles of each slide in a reference image


@dataclass(frozen=True)
class Job:
    """One learned model to train and score: the slide left out, the kind, the seed."""

    data: str
    folder: str
    test: str
    kind: str
    seed: int
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """One slide's tiles (N, 256, 256, 3) on both scanners, and the shift (N, 2) of each pair."""

    source: np.ndarray
    target: np.ndarray
    shifts: np.ndarray


def read_pairs(folder: Path) -> dict[str, Pairs]:
    """Pairs by slide."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray, tuple[int, int]]]] = {}
    with (folder / "pairs.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            tiles = [
                np.asarray(Image.open(folder / row[scanner]).convert("RGB"))
                for scanner in ("aperio", "hamamatsu")
            ]
            shift = int(row["shift_x"]), int(row["shift_y"])
            found.setdefault(row["slide"], []).append((tiles[0], tiles[1], shift))
    return {slide: Pairs(*map(np.stack, zip(*rows, strict=True))) for slide, rows in found.items()}


def score(rendered: np.ndarray, pairs: Pairs) -> tuple[float, float]:
    """Mean SSIM and PSNR over a slide's pairs."""
    from pathology.stain.similarity import paired_scores

    ssim, psnr = paired_scores(rendered, pairs.target, pairs.shifts)
    return float(np.mean(ssim)), float(np.mean(psnr))


def score_classical(slides: dict[str, Pairs], test: str, name: str) -> tuple[float, float]:
    """A classical method: the reference from the target scanner's other slides, as a domain."""
    from pathology.stain.config import StainConfig
    from pathology.stain.fit import fit_reference

    config = StainConfig.model_validate(CLASSICAL[name])
    others = [pairs.target for slide, pairs in slides.items() if slide != test]
    model = fit_reference(others, config)
    source = slides[test].source
    return score(model.for_slide(source, config).render(source).tiles, slides[test])


def score_peer(slides: dict[str, Pairs], test: str) -> dict[str, tuple[float, float]]:
    """TIAToolbox's methods, as it has them: one reference image, here tiles of the target's other
    slides side by side, and each tile measured by itself.
    """
    targets = [slides[name].target for name in sorted(slides) if name != test]
    mosaic = np.concatenate([np.concatenate(list(tiles[:MOSAIC]), axis=1) for tiles in targets])
    with TemporaryDirectory() as scratch:
        given, made = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        np.savez(given, tiles=slides[test].source, target=mosaic)
        script = Path(__file__).parent / "peers" / "pairs_tiatoolbox.py"
        subprocess.run([peer_python("tiatoolbox"), script, given, made], check=True)
        rendered = np.load(made)
        return {f"TIAToolbox {name}": score(rendered[name], slides[test]) for name in rendered}


def run_job(job: Job) -> dict[str, Any]:
    """Train one model on one thread, or find it trained, and score it at every quality."""
    import torch

    torch.set_num_threads(1)
    from pathology.core.config import load_config
    from pathology.stain.config import StainConfig
    from pathology.stain.cycle_config import CycleConfig
    from pathology.stain.learned import LearnedModel
    from pipelines.stain_domains import domains_of
    from pipelines.stain_train import TrainOptions, train_on

    slides = read_pairs(Path(job.data))
    others = [pairs for slide, pairs in slides.items() if slide != job.test]
    base = load_config(CycleConfig, None, job.settings)
    config = base.model_copy(update={**LEARNED[job.kind], "seed": job.seed})
    path = Path(job.folder) / f"{job.kind}_{job.test}_{job.seed}.pt"
    if path.exists() and LearnedModel.load(path).card.config == config:
        model = LearnedModel.load(path)
    else:
        domains = domains_of(
            [pairs.source for pairs in others],
            ["aperio"] * len(others),
            [pairs.target for pairs in others],
        )
        options = TrainOptions(device="cpu", panel_every=200)
        model = train_on(domains, "hamamatsu", path, config, options, "")
    source = slides[job.test].source
    scores = {}
    for quality in QUALITIES:
        settings = StainConfig(quality=quality)
        rendered = model.for_slide(source, settings).render(source).tiles
        scores[quality] = score(rendered, slides[job.test])
    fidelity = {name: found._asdict() for name, found in model.card.fidelity.items()}
    facts = {"test": job.test, "kind": job.kind, "seed": job.seed}
    return {**facts, "scores": scores, "fidelity": fidelity}


def table(rows: list[dict[str, Any]], slides: list[str], show: str) -> str:
    """Markdown: the shown slide and the mean over all left out, spread over seeds."""
    lines = [
        f"| method | SSIM, slide {show} | PSNR | SSIM, mean of {len(slides)} | PSNR |",
        "|---|--:|--:|--:|--:|",
    ]
    names = list(dict.fromkeys(row["name"] for row in rows))
    for name in names:
        mine = [row for row in rows if row["name"] == name]
        by_seed: dict[int, dict[str, tuple[float, float]]] = {}
        for row in mine:
            by_seed.setdefault(row["seed"], {})[row["test"]] = row["score"]
        whole = [seed for seed, found in by_seed.items() if set(found) == set(slides)]
        cells = []
        for number, digits in ((0, 3), (1, 2)):
            one = [found[show][number] for found in by_seed.values() if show in found]
            cells.append(spread(one, digits))
        for number, digits in ((0, 3), (1, 2)):
            means = [np.mean([by_seed[s][t][number] for t in slides]) for s in whole]
            cells.append(spread(means, digits))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fidelity_table(found: list[dict[str, Any]]) -> str:
    """Markdown: how near student and table come to their generator on slides that taught them."""
    lines = ["| model | PSNR to its generator | SSIM |", "|---|--:|--:|"]
    for kind in dict.fromkeys(one["kind"] for one in found):
        for quality in QUALITIES[1:]:
            mine = [one["fidelity"][quality] for one in found if one["kind"] == kind]
            cells = [spread([one[n] for one in mine], d) for n, d in (("psnr", 1), ("ssim", 3))]
            lines.append(f"| {kind}, {quality} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[Any], digits: int) -> str:
    """Mean, and standard deviation where there is more than one value."""
    if not values:
        return ""
    said = f"{np.mean(values):.{digits}f}"
    return said if len(values) == 1 else f"{said} ± {np.std(values, ddof=1):.{digits}f}"


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder with pairs.csv (MITOS-ATYPIA-14)")
    parser.add_argument("--out", type=Path, required=True, help="models and scores are kept here")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slides", nargs="*", help="leave out these only; default: each in turn")
    parser.add_argument("--kinds", nargs="*", default=list(LEARNED))
    parser.add_argument("--show", default="10", help="slide with columns of its own")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--peer", action="store_true", help="TIAToolbox, too, in its own venv")
    return parser.parse_args(words)


def main(words: list[str], echo: Callable[[str], None] = print) -> None:
    options = parse(words)
    keep_to_cores(options.jobs)
    slides = read_pairs(options.pairs)
    left_out = options.slides or sorted(slides)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [
        {"name": name, "test": test, "seed": 0, "score": score_classical(slides, test, name)}
        for name in CLASSICAL
        for test in left_out
    ]
    if options.peer:
        for test in left_out:
            peers = score_peer(slides, test)
            rows += [{"name": n, "test": test, "seed": 0, "score": s} for n, s in peers.items()]
    order = sorted(left_out, key=lambda slide: slide != options.show)  # the shown one first
    jobs = [
        Job(str(options.pairs), str(options.out), test, kind, seed, tuple(options.set))
        for seed in range(options.seeds)
        for test in order
        for kind in options.kinds
    ]
    models = []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for found in pool.map(run_job, jobs):
            echo(json.dumps(found))
            models.append(found)
            for quality in QUALITIES:
                name = found["kind"] + ("" if quality == "teacher" else f", {quality}")
                both = {key: found[key] for key in ("test", "seed")}
                rows.append({"name": name, **both, "score": found["scores"][quality]})
            (options.out / "scores.json").write_text(json.dumps(rows, indent=1))
    echo(table(rows, left_out, options.show))
    echo(fidelity_table(models))


if __name__ == "__main__":
    main(sys.argv[1:])
