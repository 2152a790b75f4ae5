"""People who look at a slide through a server, as far as its tiles notice."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil

from pathology.slides import jpeg
from pathology.viewer.deep_zoom import DeepZoom

CONNECTIONS = 6
WINDOW_PX = (1440, 900)
Place = tuple[int, int, int]  # dz_level, column, row


@dataclass
class Seen:
    """What viewers met."""

    seconds: list[float] = field(default_factory=list)
    views: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """Who looks, for how long, and how long at each view."""

    what: str
    style: str
    viewers: int
    seconds: float
    rest_s: float


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    host: str
    port: int
    slide: Path
    process: psutil.Process

    @property
    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @property
    def peak_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


class Line:
    """One kept-alive connection; as little of HTTP as is needed, so that clients cost little."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self.streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(int(line[16:]) for line in lines if line.startswith("content-length: "))
        return int(lines[0].split()[1]), await reader.readexactly(length)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()


def views(zoom: DeepZoom, random_: random.Random) -> Iterator[list[Place]]:
    """Windows somewhere on the slide; each is the list of its tiles that were not seen before."""
    known: set[Place] = set()
    while True:
        dz_level = random_.randint(zoom.min_dz_level + 2, zoom.max_dz_level)
        columns, rows = zoom.grid(dz_level)
        width, height = (
            min(n, -(-px // zoom.tile_px) + 1)
            for n, px in zip((columns, rows), WINDOW_PX, strict=True)
        )
        left, top = random_.randint(0, columns - width), random_.randint(0, rows - height)
        wanted = [(dz_level, left + x, top + y) for y in range(height) for x in range(width)]
        fresh = [place for place in wanted if place not in known]
        known.update(fresh)
        if fresh:
            yield fresh


async def look(
    server: Server, source: Iterator[list[Place]], plan: Plan, rest: random.Random, seen: Seen
) -> None:
    """One viewer, until the time is over."""
    lines = [Line(server.host, server.port) for _ in range(CONNECTIONS)]
    until = time.perf_counter() + plan.seconds
    await asyncio.sleep(rest.uniform(0, plan.rest_s))  # people do not all begin at once
    while time.perf_counter() < until:
        waiting, start = list(reversed(next(source))), time.perf_counter()

        async def work(line: Line, waiting: list[Place] = waiting) -> None:
            while waiting:
                level, column, row = waiting.pop()
                path = (
                    f"/tiles/{plan.style}/{level}/{column}/{row}?slide={quote(server.slide.stem)}"
                )
                begun = time.perf_counter()
                try:
                    status, data = await line.get(path)
                except (OSError, asyncio.IncompleteReadError) as error:
                    line.streams = None
                    seen.errors.append(repr(error))
                    continue
                seen.seconds.append(time.perf_counter() - begun)
                if status != 200 or not data.startswith(jpeg.SOI):
                    seen.errors.append(f"{status} {data[:100]!r}")

        await asyncio.gather(*(work(line) for line in lines))
        seen.views.append(time.perf_counter() - start)
        await asyncio.sleep(rest.uniform(0.5, 1.5) * plan.rest_s)
    for line in lines:
        line.close()
