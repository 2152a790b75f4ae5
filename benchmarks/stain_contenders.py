"""Who takes part in the stain benchmark, how each is run, and what all of them are given."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from contenders import Measurement, Peer
from environments import PeerMissing
from measure import last_line, run_measured
from numpy.typing import NDArray
from stain_scanners import read_pairs

CLASSICAL = ("reinhard", "macenko", "vahadane", "histogram")
MEASURED_BY_TILE = ("reinhard", "macenko", "vahadane")  # as the peers do it
QUALITIES = ("teacher", "student", "lut")
MOSAIC = 4  # target tiles in width and in height
PROBE_SECONDS = 2.0
LIMIT_S = 900


@dataclass(frozen=True)
class StainTask:
    """The same for everyone.

    tiles, target  .npy files: tiles (N, H, W, 3), and the one image (H, W, 3) whose style is wanted
    num_tiles      tiles that make up the slide; the N are repeated
    seconds        after which a contender may stop before the slide is done
    """

    tiles: Path
    target: Path
    num_tiles: int
    seconds: float

    def words(self, is_probe: bool) -> list[str]:
        seconds = min(self.seconds, PROBE_SECONDS) if is_probe else self.seconds
        shape = ["--num-tiles", str(self.num_tiles), "--seconds", str(seconds)]
        return [str(self.tiles), str(self.target), *shape]


@dataclass(frozen=True)
class Contender:
    """A script's variants that begin alike; rivals are the names of ours it is held against.

    model     for those of ours that need one
    same      ours that measures the slide once
    per_tile  ours that measures every tile, as it does
    """

    peer: Peer
    model: Path | None = None
    same: str = ""
    per_tile: str = ""

    @property
    def name(self) -> str:
        return self.peer.name

    def measure(
        self, task: StainTask, variant: str, repeat: int, is_probe: bool = False
    ) -> "StainMeasurement":
        model = ["--model", str(self.model)] if self.model else []
        words = [*task.words(is_probe), "--variant", variant, *model]
        run = run_measured([*self.peer.command(), *words], LIMIT_S)
        if run.problem:
            return StainMeasurement(self.name, repeat, "read", variant, problem=run.problem)
        try:
            answer = json.loads(last_line(run.stdout))
            return StainMeasurement(
                self.name,
                repeat,
                "read",
                variant,
                num_tiles=answer["tiles"],
                seconds=answer["seconds"],
                peak_rss_bytes=max(run.peak_rss_bytes, answer["peak_rss_bytes"]),
                changes=answer["changes"],
            )
        except (ValueError, KeyError) as problem:
            said = f"no usable answer: {problem!r}"
            return StainMeasurement(self.name, repeat, "read", variant, problem=said)

    def best_variant(self, task: StainTask) -> str:
        """The one that is fastest in a short run."""
        names = variants_of(self.peer.script, self.peer.environment)
        variants = [name for name in names if name.startswith(self.peer.prefix)]
        if len(variants) == 1:
            return variants[0]
        probes = [self.measure(task, variant, -1, is_probe=True) for variant in variants]
        for probe in probes:
            speed = probe.problem or f"{probe.tiles_per_s:.0f} tiles/s"
            print(f"  probe {self.name} ({probe.variant}): {speed}", flush=True)
        best = max(probes, key=lambda probe: probe.tiles_per_s)
        if best.problem:
            raise PeerMissing(best.problem)
        return best.variant


@cache
def variants_of(script: str, environment: str | None) -> list[str]:
    """All variants of a script, asked for once."""
    return Peer(script, "read", script, environment).variants()


@dataclass(frozen=True)
class StainMeasurement(Measurement):
    """One contender, once. changes hold gray levels, one number for every block of tiles."""

    changes: list[float] = field(default_factory=list, repr=False)

    @property
    def change(self) -> float:
        """Mean change of a pixel that was looked at, in gray levels."""
        return float(np.mean(self.changes)) if self.changes else 0.0

    @property
    def unchanged_share(self) -> float:
        """Share of the tiles looked at that came back as they were."""
        return float(np.mean(np.equal(self.changes, 0))) if self.changes else 0.0


def all_contenders(models: Sequence[Path]) -> list[Contender]:
    """Peers first, then ours; of several models each with the name of its file."""
    found = [
        Contender(
            Peer(f"TIAToolbox {method}", "read", "stain_tiatoolbox.py", "tiatoolbox", f"{method},"),
            None,
            f"ours {method}",
            f"ours {method} per tile",
        )
        for method in MEASURED_BY_TILE
    ]
    found += [
        Contender(
            Peer(
                f"torchstain macenko, {backend}",
                "read",
                "stain_torchstain.py",
                "torchstain",
                f"{backend},",
            ),
            None,
            "ours macenko",
            "ours macenko per tile",
        )
        for backend in ("numpy", "torch")
    ]
    names = [*CLASSICAL, *(f"{method} per tile" for method in MEASURED_BY_TILE)]
    found += [_ours(name) for name in names]
    for model in models:
        label = f" ({model.stem})" if len(models) > 1 else ""
        for quality in QUALITIES:
            found += [_ours(quality, label, model), _ours(f"{quality} alone", label, model)]
    return found


def _ours(way: str, label: str = "", model: Path | None = None) -> Contender:
    peer = Peer(f"ours {way}{label}", "read", "stain_ours.py", None, f"{way},")
    return Contender(peer, model)


def write_task(pairs: Path, folder: Path, num_tiles: int, seconds: float) -> StainTask:
    """The source scanner's tiles, and one image of the target scanner's."""
    slides = read_pairs(pairs)
    source = np.concatenate([slide.source for slide in slides.values()])
    target = np.concatenate([slide.target for slide in slides.values()])
    task = StainTask(folder / "tiles.npy", folder / "target.npy", num_tiles, seconds)
    np.save(task.tiles, source)
    np.save(task.target, mosaic(target))
    return task


def mosaic(tiles_NHW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One image (MOSAIC * H, MOSAIC * W, 3) of tiles taken evenly from (N, H, W, 3)."""
    rows = np.linspace(0, len(tiles_NHW3) - 1, MOSAIC**2).astype(np.int64)
    lines = tiles_NHW3[rows].reshape(MOSAIC, MOSAIC, *tiles_NHW3.shape[1:])
    return np.concatenate([np.concatenate(list(line), axis=1) for line in lines])


def trained_quickly(pairs: Path, out: Path) -> Path:
    """A model of usual size and unusable weights, on which its speed does not depend.

    Made in a process of its own: the peak memory of a program that is started counts its parent's.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_train, pairs, out).result()
    return out


def _train(pairs: Path, out: Path) -> None:
    from pathology.stain.cycle_config import CycleConfig, StudentConfig
    from pipelines.stain_domains import domains_of
    from pipelines.stain_train import TrainOptions, train_on

    slides = read_pairs(pairs)
    config = CycleConfig(steps=20, student=StudentConfig(steps=20))
    sources = [slide.source for slide in slides.values()]
    targets = [slide.target for slide in slides.values()]
    domains = domains_of(sources, ["source"] * len(sources), targets)
    train_on(domains, "target", out, config, TrainOptions(device="cpu", panel_every=20), "")
