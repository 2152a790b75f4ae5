"""What every peer script shares: its arguments, two workers, one JSON line.

A peer script offers one or more variants, ways of using its package. Called as

    python read_<package>.py SLIDE CORNERS.npy --l0-size 512 --size-px 256 --mpp 0.5

it reads every tile with two workers and prints how long that took, from opening the slide to the
last tile; importing the package is not counted. `--list` prints the names of the variants.
"""

import argparse
import json
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUM_WORKERS = 2
CHUNK = 16  # corners handed to a worker at once

Tile = NDArray[np.uint8]  # (size_px, size_px, 3), red green blue


class Job(NamedTuple):
    """The tiles to read: squares of l0_size at l0_xy (N, 2), stored as size_px squares of mpp."""

    slide_path: str
    l0_xy: NDArray[np.int64]
    l0_size: int
    size_px: int
    mpp: float


class Tally(NamedTuple):
    """What was read; one number per tile shows whether all peers read the same places."""

    num_tiles: int
    samples: list[float]
    output_bytes: int = 0


ReadTile = Callable[[int, int], Tile]
OpenReader = Callable[[Job], ReadTile]
Variant = Callable[[Job], Tally]

_local = threading.local()


def sample(tile: Tile) -> float:
    """Mean of a 5 by 5 lattice of pixels: cheap, and another place gives another value."""
    return float(tile[::56, ::56].mean())


def count(tiles: Iterator[Tile]) -> Tally:
    samples = [sample(tile) for tile in tiles]
    return Tally(len(samples), samples)


def _start(open_reader: OpenReader, job: Job) -> None:
    _local.read_tile = open_reader(job)


def _read_chunk(l0_xy: NDArray[np.int64]) -> Tally:
    return count(_local.read_tile(int(x), int(y)) for x, y in l0_xy)


def _run(executor: Executor, job: Job) -> Tally:
    chunks = [job.l0_xy[start : start + CHUNK] for start in range(0, len(job.l0_xy), CHUNK)]
    samples = [value for tally in executor.map(_read_chunk, chunks) for value in tally.samples]
    return Tally(len(samples), samples)


def threads(open_reader: OpenReader) -> Variant:
    """Two threads, each with a reader of its own."""

    def variant(job: Job) -> Tally:
        with ThreadPoolExecutor(NUM_WORKERS, initializer=_start, initargs=(open_reader, job)) as ex:
            return _run(ex, job)

    return variant


def processes(open_reader: OpenReader) -> Variant:
    """Two forked processes, each with a reader of its own."""

    def variant(job: Job) -> Tally:
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(
            NUM_WORKERS, mp_context=fork, initializer=_start, initargs=(open_reader, job)
        ) as ex:
            return _run(ex, job)

    return variant


def peak_rss_bytes() -> int:
    """Of this process, and of its largest child if it had any."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(usage.ru_maxrss for usage in usages) * 1024


def cpu_s() -> float:
    """Processor time of this process and of its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(variants: dict[str, Variant]) -> None:
    """Entry point of a peer script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("corners", nargs="?", type=Path)
    parser.add_argument("--l0-size", type=int, default=512)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--variant", choices=list(variants), default=next(iter(variants)))
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        print(json.dumps(list(variants)))
        return
    job = Job(str(args.slide), np.load(args.corners), args.l0_size, args.size_px, args.mpp)
    start, cpu_start = time.perf_counter(), cpu_s()
    tally = variants[args.variant](job)
    answer = {
        "seconds": time.perf_counter() - start,
        "cpu_s": cpu_s() - cpu_start,
        "tiles": tally.num_tiles,
        "peak_rss_bytes": peak_rss_bytes(),
        "variant": args.variant,
        "output_bytes": tally.output_bytes,
        "samples": [round(value, 2) for value in tally.samples],
    }
    print(json.dumps(answer))
