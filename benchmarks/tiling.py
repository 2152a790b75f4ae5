"""Tiles per second of `pathology tile` beside its peers, on the same tiles, with two cores.

    python benchmarks/tiling.py SLIDE.tif [--only NAME ...] [--repeats K] [--out DIR]

See benchmarks/README.md for what each contender does and how it is counted.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import openslide
import ours
from contenders import (
    NUM_WORKERS,
    PEERS_TO_MEASURE,
    Measurement,
    Peer,
    Task,
    measure_ours,
)
from environments import PeerMissing, pinned
from ground import Agreement, averaged, l0_size, psnr_db, saturated_corners, spread
from measure import keep_to_cores, read_through
from report import machine, markdown, summarize

OURS = ("ours", "ours, coordinates")


def choose_task(slide: Path, size_px: int, mpp: float, scratch: Path) -> tuple[Task, str]:
    """The tiles for everyone: those our own command finds, or colored squares without it."""
    edge = l0_size(slide, size_px, mpp)
    source = "squares with color, as `pathology tile` is not installed"
    l0_xy = None
    if ours.is_installed():
        folder = scratch / "task"
        product = ours.tile(slide, folder, size_px, mpp, NUM_WORKERS, coords_only=True)
        if product.problem is None:
            l0_xy, source = ours.l0_corners(product.store), "found by `pathology tile`"
        else:
            source = f"squares with color, as `pathology tile` failed: {product.problem}"
    corners = scratch / "corners.npy"
    np.save(corners, saturated_corners(slide, edge) if l0_xy is None else l0_xy)
    return Task(slide, corners, edge, size_px, mpp), source


def prepare(peers: list[Peer], task: Task, scratch: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The best variant of each peer, and the reason for each that cannot take part."""
    variants, missing = {}, {}
    for peer in peers:
        try:
            variants[peer.name] = peer.best_variant(task, scratch)
        except PeerMissing as problem:
            missing[peer.name] = str(problem)
            print(f"  {peer.name}: {problem}", flush=True)
    return variants, missing


def measure_all(
    peers: list[Peer], names: list[str], task: Task, repeats: int, keep: Path
) -> list[Measurement]:
    """Every contender once per repeat, in turns, so that a slow minute hits all alike."""
    with tempfile.TemporaryDirectory() as folder:
        variants, missing = prepare(peers, task, Path(folder))
    measurements = []
    for repeat in range(repeats):
        read_through(task.slide)
        turn: list[Measurement] = []
        for name in OURS:
            if name in names:
                is_coords = name != "ours"
                place = keep if repeat == 0 and not is_coords else None
                turn += measure_ours(task, repeat, coords_only=is_coords, keep=place)
        for peer in peers:
            if peer.name in missing:
                reason = missing[peer.name]
                turn.append(Measurement(peer.name, repeat, peer.kind, problem=reason))
            else:
                turn.append(peer.measure(task, variants[peer.name], repeat))
        for m in turn:
            print(f"  {repeat + 1}/{repeats} {m.contender}: {m.problem or line(m)}", flush=True)
        measurements += turn
    return measurements


def line(m: Measurement) -> str:
    mib = m.peak_rss_bytes / (1 << 20)
    return f"{m.num_tiles} tiles in {m.seconds:.2f} s, {m.tiles_per_s:.0f} tiles/s, {mib:.0f} MiB"


def agreement(task: Task, store: Path) -> Agreement:
    """How near our stored tiles are to level-0 pixels read by OpenSlide and averaged."""
    group, l0_xy = ours.open_store(store), ours.l0_corners(store)
    with openslide.OpenSlide(task.slide) as slide:
        values = []
        for row in spread(len(l0_xy)).tolist():
            x, y = l0_xy[row].tolist()
            truth = averaged(slide, (x, y), task.l0_size, task.size_px)
            values.append(psnr_db(ours.stored_tile(group, row), truth))
    return Agreement(len(values), float(np.mean(values)), float(np.min(values)))


def write(out: Path, text: str, record: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "tiling.md").write_text(text)
    (out / "tiling.json").write_text(json.dumps(record, indent=2) + "\n")


def parse() -> argparse.Namespace:
    names = [*OURS, *(peer.name for peer in PEERS_TO_MEASURE)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--out", type=Path, help="folder for tiling.json and tiling.md")
    return parser.parse_args()


def main() -> None:
    args = parse()
    cores = keep_to_cores(NUM_WORKERS)
    peers = [peer for peer in PEERS_TO_MEASURE if peer.name in args.only]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        task, source = choose_task(args.slide, args.size_px, args.mpp, scratch)
        num_tiles = len(np.load(task.corners))
        print(f"{num_tiles} tiles ({source}), cores {cores}", flush=True)
        is_ours = [name for name in args.only if name in OURS and ours.is_installed()]
        measurements = measure_all(peers, is_ours, task, args.repeats, scratch)
        store = scratch / "run0" / "run" / "tiles" / f"{ours.SLIDE_ID}.zarr"
        near = agreement(task, store) if store.exists() else None
    rows = summarize(measurements)
    versions = {peer.environment: pinned(peer.environment) for peer in peers if peer.environment}
    slide_mib = args.slide.stat().st_size / (1 << 20)
    facts = [
        f"{date.today()}; {machine()}; {len(cores)} cores; {args.repeats} repeats",
        f"{args.slide.name}, {slide_mib:.1f} MiB; {num_tiles} tiles of {args.size_px} px at "
        f"{args.mpp} um/px ({source})",
    ]
    facts += [
        f"store of `{row.name}`: {row.output_mib:.1f} MiB, {row.output_mib / slide_mib:.2f} of the "
        f"slide's bytes, {row.output_mib * 1024 / row.num_tiles:.1f} KiB a tile"
        for row in rows
        if row.output_mib >= 1 and row.name in ("ours", "hs2p")
    ]
    if near:
        facts.append(
            f"stored tiles against averaged level-0 pixels: PSNR {near.mean_db:.1f} dB mean, "
            f"{near.min_db:.1f} dB lowest of {near.num_tiles}"
        )
    text = "\n".join([*(f"* {fact}" for fact in facts), "", markdown(rows), ""])
    print(text)
    if args.out:
        record: dict[str, object] = {
            "facts": facts,
            "versions": versions,
            "rows": [asdict(row) for row in rows],
            "agreement": near.as_dict() if near else None,
            "measurements": [m.as_dict() for m in measurements],
        }
        write(args.out, text, record)


if __name__ == "__main__":
    main()
