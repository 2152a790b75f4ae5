"""What every stain script shares: its arguments, two workers, one JSON line.

A script offers one or more variants, ways of normalizing. Called as

    python stain_<package>.py TILES.npy TARGET.npy --num-tiles 2000 --seconds 5 --variant NAME

it normalizes the tiles over and over, until so many are done or the time is over, and prints how
long that took. Starting Python, importing, and fitting the target are not counted. `--list` prints
the names of the variants.

Shape letters: N tiles, H, W height and width.
"""

import argparse
import json
import multiprocessing
import multiprocessing.dummy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from peer import NUM_WORKERS, peak_rss_bytes

LATTICE = slice(None, None, 56)  # rows and columns of the pixels that are compared

Pixels = NDArray[np.uint8]
Render = Callable[[Pixels], Pixels]  # tiles (N, H, W, 3) to the same in another style
Spread = Literal["processes", "threads", "one process"]


class Job(NamedTuple):
    """What to normalize: tiles (N, H, W, 3) to the style of one image (H, W, 3), and how long.

    model  file of a learned model, for the one script that takes it
    """

    tiles_NHW3: Pixels
    target: Pixels
    num_tiles: int
    seconds: float
    model: Path | None = None


class Variant(NamedTuple):
    """A way of normalizing.

    prepare    what is done once and not counted, such as fitting the target; gives the next step
    spread     how two cores are used; what is rendered with must pickle for processes
    at_once    tiles handed over together
    is_warm    the slide is fitted, and every worker has rendered, before the clock starts; False:
               fitting the slide, handing it to the workers and their first tiles are counted, but
               not held against the time limit
    """

    prepare: Callable[[Job], Callable[[], Render]]
    spread: Spread
    at_once: int = 1
    is_warm: bool = True


class Share(NamedTuple):
    """What one worker did, from start to end on the clock that all processes share.

    changes  mean absolute change, in gray levels, of the first tile of every block
    """

    start: float
    end: float
    num_tiles: int
    changes: list[float]


class Queue(NamedTuple):
    """What the workers share: how many tiles are taken, and when both are ready."""

    taken: Any
    lock: Any
    ready: Any
    job: Job


_queues: list[Queue] = []  # one, set in every worker


def per_tile(transform: Callable[[Pixels], Pixels], tiles_NHW3: Pixels) -> Pixels:
    """A Render of a function of one tile (H, W, 3)."""
    return np.stack([transform(tile) for tile in tiles_NHW3])


def run(variant: Variant, job: Job) -> tuple[float, list[Share]]:
    """Normalize with two workers: seconds and what each did."""
    fit = variant.prepare(job)
    workers = 1 if variant.spread == "one process" else NUM_WORKERS
    is_forked = variant.spread == "processes"
    context: Any = multiprocessing.get_context("fork") if is_forked else multiprocessing.dummy
    queue = Queue(context.Value("q", 0), context.Lock(), context.Barrier(workers), job)
    with context.Pool(workers, initializer=_queues.append, initargs=(queue,)) as pool:
        render = fit() if variant.is_warm else None
        start = time.perf_counter()
        render = render or fit()
        tasks = [(render, variant.at_once, variant.is_warm)] * workers
        shares = pool.starmap(_work, tasks, chunksize=1)
        pool.close()
        pool.join()
    first = min(share.start for share in shares) if variant.is_warm else start
    return max(share.end for share in shares) - first, shares


def _work(render: Render, at_once: int, is_warm: bool) -> Share:
    """Render blocks until none is left or time is over, beginning when both workers are ready."""
    queue = _queues[-1]
    try:
        if is_warm:
            render(queue.job.tiles_NHW3[:at_once])
    except Exception:
        queue.ready.abort()
        raise
    queue.ready.wait()
    start = time.perf_counter()
    num_tiles, changes = 0, []
    for block in _blocks(queue, at_once, start + queue.job.seconds):
        rendered = render(block)
        num_tiles += len(block)
        changes.append(_change(block[0], rendered[0]))
    return Share(start, time.perf_counter(), num_tiles, changes)


def _blocks(queue: Queue, at_once: int, deadline: float) -> Iterator[Pixels]:
    """Blocks of tiles, each given to one worker, the same tiles again once all were taken."""
    tiles = queue.job.tiles_NHW3
    whole = max(1, len(tiles) // at_once)
    while time.perf_counter() < deadline:
        with queue.lock:
            first = queue.taken.value
            queue.taken.value += at_once
        num = min(at_once, queue.job.num_tiles - first)
        if num <= 0:
            return
        place = first // at_once % whole * at_once
        yield tiles[place : place + num]


def _change(before: Pixels, after: Pixels) -> float:
    """Mean absolute difference over a lattice of pixels: whether anything was done, and how much.

    Raises ValueError for an answer that is no image like the tile.
    """
    if after.shape != before.shape or after.dtype != np.uint8:
        raise ValueError(f"answered with {after.dtype} of shape {after.shape}")
    few = (tile[LATTICE, LATTICE].astype(np.int16) for tile in (before, after))
    return float(np.abs(np.subtract(*few)).mean())


def main(variants: dict[str, Variant]) -> None:
    """Entry point of a stain script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tiles", nargs="?", type=Path)
    parser.add_argument("target", nargs="?", type=Path)
    parser.add_argument("--num-tiles", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--variant", choices=list(variants), default=next(iter(variants)))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        print(json.dumps(list(variants)))
        return
    tiles, target = np.load(args.tiles), np.load(args.target)
    job = Job(tiles, target, args.num_tiles, args.seconds, args.model)
    seconds, shares = run(variants[args.variant], job)
    changes = [change for share in shares for change in share.changes]
    answer = {
        "seconds": seconds,
        "tiles": sum(share.num_tiles for share in shares),
        "peak_rss_bytes": peak_rss_bytes(),
        "variant": args.variant,
        "changes": [round(change, 2) for change in changes],
    }
    print(json.dumps(answer))
