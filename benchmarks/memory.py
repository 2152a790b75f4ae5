"""Does memory stay flat when slides grow? Peak of `pathology tile` on a slide and on four times it.

    python benchmarks/memory.py SLIDE.tif [--repeats K] [--out DIR]

The larger slide is made here: every level holds the first slide's encoded tiles two by two.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import ours
import tifffile
from measure import keep_to_cores, read_through

NUM_WORKERS = 2
TIMES = 2  # in width and in height
BIG_TIFF_FROM = 1 << 31
MEBIBYTE = 1 << 20


class CannotGrow(Exception):
    """A slide whose encoded tiles cannot simply be repeated; its text says why."""


@dataclass(frozen=True)
class Point:
    """Peak memory of one run."""

    slide: str
    num_tiles: int
    seconds: float
    peak_rss_bytes: int
    problem: str | None


def repeated(page: tifffile.TiffPage) -> Iterator[bytes]:
    """The encoded tiles of TIMES by TIMES copies of a page, row by row, each a whole JPEG."""
    columns = -(-page.imagewidth // page.tilewidth)
    rows = -(-page.imagelength // page.tilelength)
    tables = page.jpegtables[:-2] if page.jpegtables else b""
    file = page.parent.filehandle
    for row in range(rows * TIMES):
        for column in range(columns * TIMES):
            index = (row % rows) * columns + column % columns
            file.seek(page.dataoffsets[index])
            data = file.read(page.databytecounts[index])
            yield tables + data[2:] if tables else data


def write_grown(source: Path, target: Path) -> None:
    """Write a pyramid of TIMES the width and height without decoding anything."""
    with tifffile.TiffFile(source) as tiff:
        pages = [page for page in tiff.pages if page.is_tiled]
        if not pages or any(page.compression.name != "JPEG" for page in pages):
            raise CannotGrow(f"{source.name} is not a TIFF of JPEG tiles")
        is_big = source.stat().st_size * TIMES**2 > BIG_TIFF_FROM
        with tifffile.TiffWriter(target, bigtiff=is_big) as writer:
            for number, page in enumerate(pages):
                rows = -(-page.imagelength // page.tilelength)
                columns = -(-page.imagewidth // page.tilewidth)
                height, width = rows * page.tilelength, columns * page.tilewidth
                writer.write(
                    repeated(page),
                    shape=(height * TIMES, width * TIMES, page.samplesperpixel),
                    dtype=page.dtype,
                    tile=(page.tilelength, page.tilewidth),
                    compression="jpeg",
                    photometric=page.photometric.name.lower(),
                    subsampling=page.subsampling,
                    subfiletype=1 if number else 0,
                    resolution=page.get_resolution("CENTIMETER"),
                    resolutionunit="CENTIMETER",
                    metadata=None,
                )


def measure(slide: Path, mpp: float, size_px: int) -> Point:
    read_through(slide)
    with tempfile.TemporaryDirectory() as folder:
        product = ours.tile(slide, Path(folder) / "run", size_px, mpp, NUM_WORKERS)
    run = product.run
    return Point(slide.name, product.num_tiles, run.seconds, run.peak_rss_bytes, product.problem)


def show(point: Point) -> None:
    mib = point.peak_rss_bytes / MEBIBYTE
    said = point.problem or f"{point.num_tiles} tiles, {point.seconds:.1f} s, {mib:.0f} MiB"
    print(f"  {point.slide}: {said}", flush=True)


def median_peak(points: list[Point]) -> float:
    return statistics.median(point.peak_rss_bytes for point in points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--out", type=Path, help="folder for memory.json")
    args = parser.parse_args()
    keep_to_cores(NUM_WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        grown = Path(folder) / f"{args.slide.stem}-times-{TIMES**2}.tif"
        write_grown(args.slide, grown)
        points: dict[Path, list[Point]] = {args.slide: [], grown: []}
        for _ in range(args.repeats):
            for slide, measured in points.items():
                measured.append(measure(slide, args.mpp, args.size_px))
                show(measured[-1])
    small, large = points.values()
    if any(point.problem for point in [*small, *large]):
        raise SystemExit("a run failed: no ratio")
    ratio = median_peak(large) / median_peak(small)
    print(f"peak memory on {TIMES**2} times the area: {ratio:.2f} times")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        record = {"ratio": ratio, "points": [asdict(point) for point in [*small, *large]]}
        (args.out / "memory.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
