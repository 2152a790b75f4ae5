"""Who takes part, how each is run, and what a measurement of one is."""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ours
from environments import PEERS, PeerMissing, peer_python
from measure import Run, last_line, run_measured
from numpy.typing import NDArray

Kind = Literal["limit", "read", "command", "coordinates"]
NUM_PROBED = 512  # tiles on which the variants of a peer are compared before it is measured
NUM_WORKERS = 2


@dataclass(frozen=True)
class Task:
    """The same work for everyone: these squares of this slide, or the whole slide at this mpp."""

    slide: Path
    corners: Path
    l0_size: int
    size_px: int
    mpp: float


@dataclass(frozen=True)
class Measurement:
    """One contender, once. samples hold one number per tile, to see that places agree."""

    contender: str
    repeat: int
    kind: Kind
    variant: str = ""
    num_tiles: int = 0
    seconds: float = 0.0
    cpu_s: float | None = None
    peak_rss_bytes: int = 0
    output_bytes: int = 0
    problem: str | None = None
    samples: list[float] = field(default_factory=list, repr=False)

    @property
    def tiles_per_s(self) -> float:
        return self.num_tiles / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        known = asdict(self) | {"tiles_per_s": self.tiles_per_s}
        return {key: value for key, value in known.items() if key != "samples"}


@dataclass(frozen=True)
class Peer:
    """A script under peers/; its environment is named like its requirements file.

    environment  None: it runs in the project's own
    prefix       only variants whose names begin so
    """

    name: str
    kind: Kind
    script: str
    environment: str | None
    prefix: str = ""

    def command(self) -> list[str]:
        python = str(peer_python(self.environment)) if self.environment else sys.executable
        return [python, str(PEERS / self.script)]

    def variants(self) -> list[str]:
        run = run_measured([*self.command(), "--list"])
        if run.problem:
            raise PeerMissing(f"does not start: {run.problem}")
        try:
            names: list[str] = json.loads(last_line(run.stdout))
        except ValueError as problem:
            raise PeerMissing(f"no list of variants: {problem}") from problem
        return [name for name in names if name.startswith(self.prefix)]

    def measure(self, task: Task, variant: str, repeat: int) -> Measurement:
        inputs = [task.slide, task.corners]
        shape = ["--l0-size", task.l0_size, "--size-px", task.size_px, "--mpp", task.mpp]
        words = [str(word) for word in [*inputs, *shape, "--variant", variant]]
        run = run_measured([*self.command(), *words])
        if run.problem:
            return Measurement(self.name, repeat, self.kind, variant, problem=run.problem)
        try:
            return self.read_answer(run, variant, repeat)
        except (ValueError, KeyError) as problem:
            said = f"no usable answer: {problem!r}"
            return Measurement(self.name, repeat, self.kind, variant, problem=said)

    def read_answer(self, run: Run, variant: str, repeat: int) -> Measurement:
        answer = json.loads(last_line(run.stdout))
        return Measurement(
            self.name,
            repeat,
            self.kind,
            variant,
            num_tiles=answer["tiles"],
            seconds=answer["seconds"],
            cpu_s=answer["cpu_s"],
            peak_rss_bytes=max(run.peak_rss_bytes, answer["peak_rss_bytes"]),
            output_bytes=answer["output_bytes"],
            samples=answer["samples"],
        )

    def best_variant(self, task: Task, scratch: Path) -> str:
        """The fastest variant on some neighboring tiles from the middle of the slide."""
        variants = self.variants()
        if len(variants) == 1:
            return variants[0]
        few = probe_task(task, scratch)
        probes = [self.measure(few, variant, repeat=-1) for variant in variants]
        for probe in probes:
            speed = probe.problem or f"{probe.tiles_per_s:.0f} tiles/s"
            print(f"  probe {self.name} ({probe.variant}): {speed}", flush=True)
        best = max(probes, key=lambda probe: probe.tiles_per_s)
        if best.problem:
            raise PeerMissing(best.problem)
        return best.variant


PEERS_TO_MEASURE = (
    Peer("decode limit", "limit", "decode_limit.py", None),
    Peer("openslide", "read", "read_openslide.py", "openslide"),
    Peer("cucim", "read", "read_cucim.py", "cucim"),
    Peer("pyvips", "read", "read_pyvips.py", "pyvips"),
    Peer("fastslide", "read", "read_fastslide.py", "fastslide"),
    Peer("tiatoolbox", "read", "read_tiatoolbox.py", "tiatoolbox"),
    Peer("hs2p coordinates", "coordinates", "command_hs2p.py", "hs2p", "coordinates"),
    Peer("hs2p", "command", "command_hs2p.py", "hs2p", "tiles"),
)


def probe_task(task: Task, scratch: Path) -> Task:
    """The same task with fewer corners."""
    l0_xy: NDArray[np.int64] = np.load(task.corners)
    start = max(0, (len(l0_xy) - NUM_PROBED) // 2)
    corners = scratch / "probe.npy"
    np.save(corners, l0_xy[start : start + NUM_PROBED])
    return replace(task, corners=corners)


def measure_ours(
    task: Task, repeat: int, *, coords_only: bool, keep: Path | None = None
) -> Iterator[Measurement]:
    """The whole command, and from the same run the extraction alone as the command reports it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = (keep or Path(scratch)) / ("coordinates" if coords_only else f"run{repeat}")
        product = ours.tile(
            task.slide, folder, task.size_px, task.mpp, NUM_WORKERS, coords_only=coords_only
        )
        name = "ours, coordinates" if coords_only else "ours"
        known: dict[str, Any] = {
            "num_tiles": product.num_tiles,
            "peak_rss_bytes": product.run.peak_rss_bytes,
            "output_bytes": product.store_bytes,
            "problem": product.problem,
        }
        kind: Kind = "coordinates" if coords_only else "command"
        seconds, cpu_s = product.run.seconds, product.run.cpu_s
        yield Measurement(name, repeat, kind, seconds=seconds, cpu_s=cpu_s, **known)
        if not coords_only:
            yield Measurement(
                "ours, extraction", repeat, "read", seconds=product.extraction_s, **known
            )
