"""How fast is the live microscope? 1920x1080 frames of a simulated camera, in the whole pipeline.

    python benchmarks/live.py --slide SLIDE [--model MODEL] [--minutes M] [--fps 30]
        [--budget-ms 40] [--stain MODEL] [--record FILE] [--mpp 0.345]

Frames are made beforehand and kept as JPEG, as cameras send them, so that decoding counts and the
simulation does not. Latency is from the frame's arrival, before it is decoded, to the finished
JPEG of its overlay. Without --model an untrained head on the default encoder stands for one: it is
as fast as a trained one.
"""

import argparse
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import torch
from measure import keep_to_cores

from pathology.inference.frame import Frame
from pathology.inference.live import LiveSession
from pathology.inference.live_facts import Scale, Standing
from pathology.inference.recorder import Recorder
from pathology.inference.screen import Screen
from pathology.inference.simulated_source import SimulatedSource
from pathology.models.card import ModelCard, TileContract, save_classifier
from pathology.models.encoder import OFFLINE, make_encoder
from pathology.simulate.microscope import MicroscopeConfig
from pathology.slides import jpeg
from pathology.weak.pooling import PooledTiles
from pipelines.features import weights_digest
from pipelines.live_model import LiveModel, load_live

SIZE = (1920, 1080)
NUM_KEPT = 60  # frames, of four seconds: the stage pans, rests and goes out of focus
KEPT_FPS = 15.0
NUM_CORES = 2


class CameraOfJpegs:
    """Frames from memory at a steady rate, to and fro, decoded when they are read."""

    is_simulated = is_steady = True

    def __init__(self, streams: list[bytes], fps: float) -> None:
        self.streams, self.fps, self.name = streams, fps, "camera of the benchmark"
        self.number = 0

    def open(self) -> float | None:
        self.started_at = time.monotonic()
        return None

    def grab(self, stop: threading.Event) -> float | None:
        due = self.started_at + self.number / self.fps
        if stop.wait(max(0.0, due - time.monotonic())):
            return None
        self.number += 1
        return time.monotonic()

    def pixels(self) -> np.ndarray:
        turn = int(self.number * KEPT_FPS / self.fps) % (2 * len(self.streams) - 2)
        place = turn if turn < len(self.streams) else 2 * len(self.streams) - 2 - turn
        return jpeg.decode(self.streams[place], SIZE)

    def close(self) -> None:
        pass


def frames_of(slide: Path, mpp: float, assume_mpp: float | None) -> list[bytes]:
    """Frames of the simulated microscope at its own pace of time, as JPEG."""
    source = SimulatedSource(
        slide, MicroscopeConfig(size_px=SIZE, mpp=mpp), assume_mpp=assume_mpp, fps=KEPT_FPS,
        num_frames=NUM_KEPT,
    )  # fmt: skip
    source.open()
    stop, streams = threading.Event(), []
    while source.grab(stop) is not None:
        streams.append(jpeg.encode(source.pixels(), 90, "422"))
    return streams


def untrained(path: Path) -> Path:
    """A model's file of the default encoder with a head of random weights."""
    encoder = make_encoder(OFFLINE).eval()
    torch.manual_seed(0)
    head = PooledTiles(encoder.num_features, 3, width=256, dropout=0, pooling="mean")
    tiles = TileContract(
        size_px=224, mpp=0.62, encoder=OFFLINE, weights=weights_digest(encoder),
        num_features=encoder.num_features,
    )  # fmt: skip
    card = ModelCard(
        grades=("a", "b", "c"), tiles=tiles, method="untrained", settings={"width": 256},
        task="adapt",
    )  # fmt: skip
    save_classifier(path, card, {f"bag.{k}": v for k, v in head.state_dict().items()})
    return path


@dataclass
class Watched:
    """Memory over time, and the processor's time at the ends."""

    minutes: list[float]
    rss_mib: list[float]
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def slope_mib_a_minute(self) -> float:
        """By least squares over all but the first quarter, in which caches fill."""
        start = len(self.minutes) // 4
        if len(self.minutes) - start < 3:
            return float("nan")
        return float(np.polyfit(self.minutes[start:], self.rss_mib[start:], 1)[0])

    @property
    def quarters_mib(self) -> list[float]:
        """Most so far, at the end of each quarter."""
        ends = [max(1, len(self.rss_mib) * k // 4) for k in (1, 2, 3, 4)]
        return [max(self.rss_mib[:end], default=0.0) for end in ends]


def run(session: LiveSession, seconds: float) -> Watched:
    """Run a session for so long and watch its memory."""
    process, watched = psutil.Process(), Watched([], [])
    cpu, started = time.process_time(), time.monotonic()

    def watch() -> None:
        while (passed := time.monotonic() - started) < seconds:
            watched.minutes.append(passed / 60)
            watched.rss_mib.append(process.memory_info().rss / 2**20)
            time.sleep(min(2.0, seconds / 20))
        session.stop()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    session.run()
    watched.cpu_s, watched.wall_s = time.process_time() - cpu, time.monotonic() - started
    return watched


def network_alone(model: LiveModel, stream: bytes, mpp: float) -> float:
    """Milliseconds of the network for all tiles of a field, best of some."""
    frame = Frame(0, jpeg.decode(stream, SIZE), time.monotonic())
    plan = model.grader._planned(frame, mpp)
    tile_px = model.grader.tile_px
    tiles = np.full((len(plan.xy), tile_px, tile_px, 3), 150, np.uint8)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        model.grader.network(tiles)
        times.append((time.perf_counter() - started) * 1e3)
    return min(times) / len(tiles)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--stain", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--assume-mpp", type=float)
    parser.add_argument("--mpp", type=float, default=0.345)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--budget-ms", type=float, default=40.0)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    keep_to_cores(NUM_CORES)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        path = given.model or untrained(Path(folder) / "untrained.pt")
        model = load_live(
            path, weights=given.weights, stain=given.stain, threads=NUM_CORES,
            budget_ms=given.budget_ms,
        )  # fmt: skip
    streams = frames_of(given.slide, given.mpp, given.assume_mpp)
    alone_ms = network_alone(model, streams[0], given.mpp)
    standing = Standing(model.card.grades, path.name, "benchmark", True, model.checks)
    session = LiveSession(
        CameraOfJpegs(streams, given.fps), model.grader, Scale(given.mpp, "given"), standing,
        Screen(), recorder=Recorder(given.record) if given.record else None,
    )  # fmt: skip
    watched = run(session, given.minutes * 60)
    speed = session.speed
    fps = speed.num_frames / watched.wall_s
    tiles = session.num_tiles_graded / max(1, speed.num_frames)
    print(f"{speed.num_frames} frames in {watched.wall_s:.0f} s: {fps:.1f} frames/s")
    print(f"latency p50 {speed.latency(50):.0f} ms, p95 {speed.latency(95):.0f} ms")
    print("part       p50    p95  ms")
    for name, half, most in zip(
        speed.parts(50)._fields, speed.parts(50), speed.parts(95), strict=True
    ):
        print(f"{name:9} {half:5.1f}  {most:5.1f}")
    print(f"network alone {alone_ms:.1f} ms a tile; {tiles:.1f} tiles a frame")
    ratio = tiles * alone_ms * speed.num_frames / (watched.wall_s * 1e3)
    print(f"tiles graded over what the network alone would have graded: {ratio:.2f}")
    print(f"processor: {watched.cpu_s / watched.wall_s:.2f} of {NUM_CORES} cores")
    print(
        f"peak memory {max(watched.rss_mib):.0f} MiB, "
        f"slope {watched.slope_mib_a_minute:+.2f} MiB/min"
    )
    marks = ", ".join(f"{mib:.1f}" for mib in watched.quarters_mib)
    print(f"most so far at the end of each quarter: {marks} MiB")
    if given.json:
        given.json.write_text(json.dumps({
            "fps": fps, "p50_ms": speed.latency(50), "p95_ms": speed.latency(95),
            "parts_p50": speed.parts(50)._asdict(), "parts_p95": speed.parts(95)._asdict(),
            "alone_ms_a_tile": alone_ms, "tiles_a_frame": tiles,
            "cores": watched.cpu_s / watched.wall_s, "peak_mib": max(watched.rss_mib),
            "slope_mib_a_minute": watched.slope_mib_a_minute,
            "quarters_mib": watched.quarters_mib,
        }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
