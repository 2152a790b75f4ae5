"""How fast is `pathology serve`? Tile latency for one viewer and for many, against direct decoding.

    python benchmarks/serve.py SLIDE [--viewers N] [--seconds S] [--stain MODEL] [--out DIR]

A real server in a process of its own, asked over loopback as browsers ask: each viewer has six
connections, wants all tiles of a window of 1440 x 900 px somewhere on the slide, at a zoom drawn at
random, and then moves on. No viewer asks for a tile twice. Client and server share the machine.
"""

import argparse
import asyncio
import io
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import openslide
import psutil
from measure import read_through
from openslide.deepzoom import DeepZoomGenerator
from serve_viewers import Line, Place, Plan, Seen, Server, look, views

from pathology.core.manifest import SlideRecord
from pathology.slides import jpeg
from pathology.slides.open import open_slide
from pathology.viewer.deep_zoom import DeepZoom, read_dz_tile
from pathology.viewer.scene import QUALITY, SUBSAMPLING

TARGET_MS = 60
HEAD = (
    "", "tiles", "tiles/s", "p50 ms", "p95 ms", "worst ms", "view p50 ms", "server CPU ms/tile",
    "errors",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A line of the table; times in milliseconds."""

    what: str
    tiles: int
    tiles_per_s: float
    p50_ms: float
    p95_ms: float
    worst_ms: float
    view_p50_ms: float
    server_cpu_ms: float
    errors: int

    def line(self) -> str:
        """The row of a table."""
        cells = [
            self.what, f"{self.tiles:,}", f"{self.tiles_per_s:.0f}", f"{self.p50_ms:.1f}",
            f"{self.p95_ms:.1f}", f"{self.worst_ms:.0f}", f"{self.view_p50_ms:.0f}",
            f"{self.server_cpu_ms:.2f}", str(self.errors),
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def measure(server: Server, plan: Plan, seed: int) -> Row:
    zoom, seen = zoom_of(server.slide), Seen()
    people = [random.Random(seed + i) for i in range(plan.viewers)]  # noqa: S311

    async def all_of_them() -> None:
        await asyncio.gather(*(look(server, views(zoom, one), plan, one, seen) for one in people))

    start, cpu_s = time.perf_counter(), server.cpu_s
    asyncio.run(all_of_them())
    took, num = time.perf_counter() - start, len(seen.seconds)
    cuts = [1000 * cut for cut in statistics.quantiles(seen.seconds, n=100)]
    row = Row(
        plan.what, num, num / took, cuts[49], cuts[94], 1000 * max(seen.seconds),
        1000 * statistics.median(seen.views), 1000 * (server.cpu_s - cpu_s) / num, len(seen.errors),
    )  # fmt: skip
    print(row.line(), flush=True)
    for error in seen.errors[:3]:
        print(f"  error: {error}")
    return row


async def fit(server: Server) -> float:
    """Seconds until a slide's own table of colors is fitted."""
    line, start = Line(server.host, server.port), time.perf_counter()
    status, _ = await line.get(f"/api/normalization?slide={quote(server.slide.stem)}")
    line.close()
    assert status == 200
    return time.perf_counter() - start


def zoom_of(slide: Path) -> DeepZoom:
    with closing(open_slide(SlideRecord("s", slide))) as reader:
        return DeepZoom(reader.levels[0].size)


def direct(slide: Path, num: int, seed: int) -> tuple[float, float]:
    """Tiles per second in one thread: our reader and encoder; openslide's generator and Pillow."""
    source = views(zoom_of(slide), random.Random(seed))  # noqa: S311
    places: list[Place] = []
    while len(places) < num:
        places += next(source)
    with closing(open_slide(SlideRecord("s", slide))) as reader:
        zoom = DeepZoom(reader.levels[0].size)
        start = time.perf_counter()
        for place in places:
            jpeg.encode(read_dz_tile(reader, zoom, *place), QUALITY, SUBSAMPLING)
        ours = len(places) / (time.perf_counter() - start)
    with openslide.OpenSlide(slide) as other:
        tiles = DeepZoomGenerator(other, 256, 0, limit_bounds=False)
        start = time.perf_counter()
        for level, column, row in places:
            tile = tiles.get_tile(level, (column, row))
            tile.save(io.BytesIO(), "jpeg", quality=QUALITY, subsampling=0)
        theirs = len(places) / (time.perf_counter() - start)
    return ours, theirs


@contextmanager
def served(slide: Path, folder: Path, stain: Path | None) -> Iterator[Server]:
    """A server that shows the slide."""
    table, run = folder / "slides.csv", folder / "run"
    table.write_text(f"slide_id,slide_path\n{slide.stem},{slide.resolve()}\n")
    program = [sys.executable, "-m", "pipelines"]
    tiling = [*program, "tile", table, "--out", run, "--coords-only", "--workers", "0"]
    subprocess.run(tiling, check=True, capture_output=True)
    words = ["--stain", str(stain)] if stain else []
    serving = [*program, "serve", run, "--port", "0", *words]
    process = subprocess.Popen(serving, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = next(line.split()[1] for line in process.stdout if line.startswith("Open "))
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        yield Server(host, int(port), slide, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rest", type=float, default=4.0, help="seconds that a view is looked at")
    parser.add_argument("--stain", type=Path, help="also measure normalized tiles")
    parser.add_argument("--out", type=Path, help="folder for serve.json")
    args = parser.parse_args()
    read_through(args.slide)
    ours, theirs = direct(args.slide, 400, 7)
    many, seconds, rest = args.viewers, args.seconds, args.rest
    plans = [
        Plan("one viewer", "original", 1, seconds, 0.5),
        Plan(f"{many} viewers, a view every {rest:g} s", "original", many, seconds, rest),
        Plan(f"{many} viewers without rest", "original", many, seconds, 0.0),
    ]
    load = os.getloadavg()[0]
    print(f"{args.slide.name}, {os.cpu_count()} cores, load {load:.1f} before the start\n")
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(args.slide, Path(folder), args.stain) as server,
    ):
        rows = [measure(server, plan, 1000 * (i + 1)) for i, plan in enumerate(plans)]
        if args.stain:
            fit_s = asyncio.run(fit(server))
            plan = Plan("one viewer, normalized", "normalized", 1, seconds, 0.5)
            rows.append(measure(server, plan, 10_000))
            print(f"\nfitting the slide's colors: {fit_s:.1f} s")
        peak_mib = server.peak_mib
    busiest = rows[2].tiles_per_s
    print(f"\ndirect, one thread: {ours:.0f} tiles/s; openslide's generator {theirs:.0f} tiles/s")
    print(f"served without rest ÷ decoded directly: {busiest / ours:.2f}")
    print(f"served without rest ÷ openslide's generator: {busiest / theirs:.2f}")
    print(f"peak memory: {peak_mib:.0f} MiB; errors: {sum(row.errors for row in rows)}")
    verdict = "yes" if rows[0].p95_ms < TARGET_MS else "NO"
    print(f"one viewer's p95 below {TARGET_MS} ms: {verdict} ({rows[0].p95_ms:.1f} ms)")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        record = {
            "rows": [asdict(row) for row in rows],
            "direct_tiles_per_s": ours,
            "generator_tiles_per_s": theirs,
            "peak_mib": peak_mib,
            "load": load,
        }
        (args.out / "serve.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
