"""Real slides, real processes and no mocks: what the tests of bad input and bad luck share."""

from __future__ import annotations

import csv
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import LocalCluster

from pathology.tiling.store import TileStore, open_tiles

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))  # for pictures, corruption and faulty_work, which stand beside this

import pictures  # noqa: E402  its place was not known before

TILE = ("tile", "--set", "tile.mpp=0.5", "--set", "tile.size_px=256")
DENSE = ("--set", "tile.stride_px=160", "--set", "store.encoding=lossless")  # more to do


def command(*words: str | Path) -> list[str]:
    """The pathology command with some arguments."""
    code = "import sys; from pipelines.__main__ import main; sys.argv[0] = 'pathology'; main()"
    return [sys.executable, "-c", code, *map(str, words)]


def environment() -> dict[str, str]:
    """The environment of a child that can import this project and faulty_work."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}


@dataclass
class Run:
    """One `pathology tile` in a process group of its own, over some slides, into out."""

    manifest: Path
    out: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, *options: str | Path, limits: dict[int, int] | None = None
    ) -> subprocess.Popen[str]:
        """Begin; limits maps a resource (RLIMIT_AS...) to what the processes may have of it."""

        def prepare() -> None:
            for name, most in (limits or {}).items():
                resource.setrlimit(name, (most, most))

        process = subprocess.Popen(
            command(*TILE, self.manifest, "--out", self.out, *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=self.manifest.parent,
            start_new_session=True,
            preexec_fn=prepare if limits else None,
        )
        self.started.append(process)
        return process

    def finish(
        self, *options: str | Path, limits: dict[int, int] | None = None, within_s: float = 60
    ) -> tuple[int, str]:
        """Run to the end; the exit code and what was said on standard error."""
        process = self.start(*options, limits=limits)
        said, complaints = process.communicate(timeout=within_s)
        assert "Traceback" not in complaints + said, complaints
        return process.returncode, complaints

    def rows(self) -> dict[str, dict[str, str]]:
        """process_list.csv by slide."""
        with (self.out / "process_list.csv").open(encoding="utf-8", newline="") as stream:
            return {row["slide_id"]: row for row in csv.DictReader(stream)}

    def statuses(self) -> dict[str, str]:
        """The status of each slide in process_list.csv."""
        return {slide_id: row["status"] for slide_id, row in self.rows().items()}

    def published(self) -> list[Path]:
        """What stands in the folder of stores under its real name."""
        return sorted((self.out / "tiles").glob("[!.]*"))

    def stores(self) -> dict[str, TileStore]:
        """Every published store, opened, with every tile decoded."""
        found = {}
        for path in self.published():
            assert path.suffix == ".zarr", f"{path.name} has no business here"
            found[path.stem] = whole_store(path)
        return found

    def scratch(self) -> list[str]:
        """Names of what is half-made below out."""
        folders = (self.out, *(self.out / name for name in ("tiles", "overlays", "masks")))
        return [path.name for folder in folders for path in folder.glob(".*.tmp")]

    def end(self) -> None:
        """Put an end to whatever still runs."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def whole_store(path: Path) -> TileStore:
    """The store, proved complete: it opens, and every tile decodes to something."""
    store = open_tiles(path)
    for start in range(0, len(store), 64):
        tiles = store.read(slice(start, start + 64))
        assert tiles.std(axis=(1, 2, 3)).min() > 0, f"{path.name}: a tile of one colour"
    return store


@pytest.fixture
def new_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Make a Run over slides, by id and path; its processes do not outlive the test."""
    runs: list[Run] = []

    def make(slides: dict[str, Path], out: Path | None = None) -> Run:
        number = len(runs)
        manifest = write_manifest(tmp_path / f"manifest{number}.csv", slides)
        runs.append(Run(manifest, out or tmp_path / f"run{number}"))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


def write_manifest(path: Path, slides: dict[str, Path]) -> Path:
    """A manifest with a row for each slide."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["slide_id", "slide_path"])
        writer.writerows((slide_id, str(file)) for slide_id, file in slides.items())
    return path


@pytest.fixture(scope="session")
def six_slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six different slides of 2048 x 1536 px with tissue, about 35 tiles each."""
    folder = tmp_path_factory.mktemp("six")
    slides = {}
    for number in range(6):
        path = folder / f"slide{number}.tif"
        pictures.write_pyramid(path, pictures.tissue(2048, 1536, seed=number))
        slides[path.stem] = path
    return slides


@pytest.fixture(scope="session")
def plain_run(
    six_slides: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TileStore]:
    """The stores of six_slides as an undisturbed run makes them."""
    folder = tmp_path_factory.mktemp("plain")
    run = Run(write_manifest(folder / "manifest.csv", six_slides), folder / "run")
    code, complaints = run.finish("--workers", "2")
    assert code == 0, complaints
    return run.stores()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process and all its descendants."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def wait_until(is_so: Callable[[], bool], within_s: float, what: str) -> None:
    """Wait for something, and fail when it does not come."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, f"after {within_s:g} s still not: {what}"
        time.sleep(0.005)


def all_gone(processes: Sequence[psutil.Process], within_s: float = 5) -> None:
    """Fail unless every process ends in time."""
    _, alive = psutil.wait_procs(list(processes), timeout=within_s)
    left = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not left, f"orphans: {left}"


def same_tiles(a: TileStore, b: TileStore) -> bool:
    """Whether two stores were made by one recipe and hold the same bytes."""
    return a.attributes["fingerprint"] == b.attributes["fingerprint"] and (
        len(a) == len(b)
        and bool(np.array_equal(a.l0_xy, b.l0_xy))
        and all(a.encoded(row) == b.encoded(row) for row in range(len(a)))
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers, each a process with one thread."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster
