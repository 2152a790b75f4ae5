"""Tiles per second of stain normalization beside its peers, on the same tiles, with two cores.

    python benchmarks/stain.py [--pairs FOLDER] [--model MODEL.pt ...] [--slide SLIDE.tif]

See benchmarks/README.md for what each contender does and how it is counted.
"""

import argparse
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import ours
from contenders import NUM_WORKERS
from environments import PeerMissing, pinned
from measure import keep_to_cores
from report import MEBIBYTE, machine
from stain_contenders import (
    Contender,
    StainMeasurement,
    StainTask,
    all_contenders,
    trained_quickly,
    write_task,
)
from stain_report import LUT, markdown, slide_markdown, summarize, targets
from stain_slide import SlideRun, apply_all, look_at

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def prepare(
    contenders: Sequence[Contender], task: StainTask
) -> tuple[dict[str, str], dict[str, str]]:
    """The best variant of each, and the reason for each that cannot take part."""
    variants, missing = {}, {}
    for contender in contenders:
        try:
            variants[contender.name] = contender.best_variant(task)
        except PeerMissing as problem:
            missing[contender.name] = str(problem)
            print(f"  {contender.name}: {problem}", flush=True)
    return variants, missing


def measure_all(
    contenders: Sequence[Contender], task: StainTask, repeats: int
) -> list[StainMeasurement]:
    """Every contender once per repeat, in turns, so that a slow minute hits all alike."""
    variants, missing = prepare(contenders, task)
    measurements = []
    for repeat in range(repeats):
        for contender in contenders:
            name = contender.name
            if name in missing:
                m = StainMeasurement(name, repeat, "read", problem=missing[name])
            else:
                m = contender.measure(task, variants[name], repeat)
            measurements.append(m)
            print(f"  {repeat + 1}/{repeats} {name}: {m.problem or line(m)}", flush=True)
    return measurements


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Programs started meanwhile use one thread for linear algebra, as they have two workers."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def line(m: StainMeasurement) -> str:
    mib = m.peak_rss_bytes / MEBIBYTE
    return f"{m.num_tiles} tiles in {m.seconds:.2f} s, {m.tiles_per_s:.0f} tiles/s, {mib:.0f} MiB"


def measure_slide(
    path: Path, models: list[Path], repeats: int, scratch: Path
) -> tuple[list[SlideRun], str]:
    """Whole commands on a slide, and what the slide is."""
    if not ours.is_installed():
        return [], f"{path.name}: not measured, as `pathology` is not installed"
    slide = look_at(path)
    width, height = slide.l0_size
    fact = (
        f"{path.name}: {width} x {height} px, {slide.num_tiles:,} tiles of 256 px on level 0, "
        f"{slide.num_tissue_tiles():,} of them tissue"
    )
    print(fact, flush=True)
    return apply_all(slide, models, repeats, scratch), fact


def parse() -> argparse.Namespace:
    data = os.environ.get("PATHOLOGY_DATA")
    pairs = Path(data) / "mitos_pairs" if data else None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--pairs", type=Path, default=pairs, required=pairs is None,
        help="folder with pairs.csv: the tiles, and what they are to look like",
    )  # fmt: skip
    parser.add_argument(
        "--model", type=Path, nargs="+", default=[], help="learned; default: one is made here"
    )
    parser.add_argument("--slide", type=Path, help="whole slide for `pathology stain apply`")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="names that hold one of these")
    parser.add_argument("--tiles", type=int, default=2000, help="of the slide that is made of them")
    parser.add_argument("--seconds", type=float, default=5, help="after which a contender stops")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for stain.json and stain.md")
    return parser.parse_args()


def chosen(contenders: Sequence[Contender], words: Sequence[str] | None) -> list[Contender]:
    """Those whose name holds one of the words, all without words."""
    return [c for c in contenders if words is None or any(word in c.name for word in words)]


def main() -> None:
    args = parse()
    cores = keep_to_cores(NUM_WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        task = write_task(args.pairs, scratch, args.tiles, args.seconds)
        models = args.model or [trained_quickly(args.pairs, scratch / "quick.pt")]
        contenders = chosen(all_contenders(models), args.only)
        with one_thread_each():
            measurements = measure_all(contenders, task, args.repeats)
        runs: list[SlideRun] = []
        slide_fact = ""
        if args.slide:
            runs, slide_fact = measure_slide(args.slide, models, args.repeats, scratch)
    lut = LUT if len(models) == 1 else f"{LUT} ({models[0].stem})"
    rows = summarize(contenders, measurements, lut)
    made = ", ".join(model.name for model in args.model) or "trained for 20 steps, for its speed"
    facts = [
        f"{date.today()}; {machine()}; {len(cores)} cores; {args.repeats} repeats",
        f"slide of {args.tiles} tiles of 256 px, stopped after {args.seconds:g} s; model: {made}",
        *([slide_fact] if slide_fact else []),
    ]
    parts = ["\n".join(f"* {fact}" for fact in facts), markdown(rows)]
    parts += [slide_markdown(runs)] if runs else []
    parts += ["\n".join(f"* {said}" for said in targets(rows, measurements, runs, lut))]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if args.out:
        environments = {c.peer.environment for c in contenders if c.peer.environment}
        record = {
            "facts": facts,
            "versions": {name: pinned(name) for name in sorted(environments)},
            "rows": [asdict(row) for row in rows],
            "measurements": [m.as_dict() for m in measurements],
            "slide": [run.as_dict() for run in runs],
        }
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "stain.md").write_text(text)
        (args.out / "stain.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
