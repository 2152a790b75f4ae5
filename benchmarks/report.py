"""Medians, ratios, and the table of a tiling benchmark."""

import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contenders import Measurement

REFERENCE = "openslide"
TOLERANCE = 2.0  # gray levels: more between two readers' samples means another place
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Row:
    """One contender over all repeats. Ratios, one a repeat, are ours over theirs: above 1, ours is
    faster.
    """

    name: str
    variant: str
    num_tiles: int
    seconds: float
    tiles_per_s: float
    tiles_per_s_range: tuple[float, float]
    cpu_ms_per_tile: float | None
    command_ratios: list[float]
    extraction_ratios: list[float]
    peak_mib: float
    output_mib: float
    remark: str


def summarize(measurements: Sequence[Measurement]) -> list[Row]:
    names = list(dict.fromkeys(m.contender for m in measurements))
    return [summarize_one(name, measurements) for name in names]


def summarize_one(name: str, measurements: Sequence[Measurement]) -> Row:
    mine = [m for m in measurements if m.contender == name]
    good = [m for m in mine if m.problem is None]
    if not good:
        return Row(name, "", 0, 0, 0, (0, 0), None, [], [], 0, 0, f"failed: {mine[0].problem}")
    rates = [m.tiles_per_s for m in good]
    failures = f"{len(mine) - len(good)} of {len(mine)} runs failed; " if good != mine else ""
    command, extraction = rivals(good[0])
    return Row(
        name,
        good[0].variant,
        good[0].num_tiles,
        statistics.median(m.seconds for m in good),
        statistics.median(rates),
        (min(rates), max(rates)),
        cpu_ms_per_tile(good),
        ratios(command, good, measurements),
        ratios(extraction, good, measurements),
        max(m.peak_rss_bytes for m in good) / MEBIBYTE,
        good[0].output_bytes / MEBIBYTE,
        failures + place_remark(good[0], measurements),
    )


def rivals(peer: Measurement) -> tuple[str, str]:
    """Which of our two measurements a contender is fairly held against.

    Readers are held against the whole command and against the extraction, whole commands
    against the whole command, coordinates against coordinates.
    """
    if peer.contender.startswith("ours"):
        return "", ""
    if peer.kind == "coordinates":
        return "ours, coordinates", ""
    return "ours", "" if peer.kind == "command" else "ours, extraction"


def cpu_ms_per_tile(good: Iterable[Measurement]) -> float | None:
    """Median processor time; it suffers less than wall time from what else the machine does."""
    costs = [1000 * m.cpu_s / m.num_tiles for m in good if m.cpu_s is not None and m.num_tiles]
    return statistics.median(costs) if costs else None


def ratios(rival: str, peer: Iterable[Measurement], all_: Sequence[Measurement]) -> list[float]:
    """Our rate over theirs, repeat by repeat; by seconds where only coordinates are made."""
    ours = {m.repeat: m for m in all_ if m.contender == rival and m.problem is None}
    pairs = [(ours[m.repeat], m) for m in peer if m.repeat in ours]
    return [
        theirs.seconds / mine.seconds
        if theirs.kind == "coordinates"
        else mine.tiles_per_s / theirs.tiles_per_s
        for mine, theirs in pairs
        if mine.seconds and theirs.seconds
    ]


def place_remark(mine: Measurement, measurements: Sequence[Measurement]) -> str:
    """How far the pixels are from the reference reader's, if that is worth a word."""
    others = (m.samples for m in measurements if m.contender == REFERENCE and m.samples)
    reference = next(others, [])
    if not mine.samples or len(mine.samples) != len(reference):
        return ""
    difference = float(np.abs(np.subtract(mine.samples, reference)).mean())
    if difference > TOLERANCE:
        return f"OTHER PIXELS than {REFERENCE}: {difference:.1f} gray levels"
    return f"pixels {difference:.1f} gray levels off {REFERENCE}" if difference >= 0.5 else ""


def markdown(rows: Iterable[Row]) -> str:
    lines = [
        "| contender | tiles | seconds | tiles/s (min to max) | CPU ms/tile "
        "| ours, whole command ÷ it | ours, extraction ÷ it | peak MiB | output MiB | remark |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        low, high = row.tiles_per_s_range
        cells = [
            row.name,
            str(row.num_tiles),
            f"{row.seconds:.2f}",
            f"{row.tiles_per_s:.0f} ({low:.0f} to {high:.0f})",
            "-" if row.cpu_ms_per_tile is None else f"{row.cpu_ms_per_tile:.2f}",
            shown(row.command_ratios),
            shown(row.extraction_ratios),
            f"{row.peak_mib:.0f}",
            f"{row.output_mib:.1f}" if row.output_mib else "-",
            "; ".join(filter(None, [row.variant, row.remark])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(values: list[float]) -> str:
    if not values:
        return "-"
    return f"**{statistics.median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


def machine() -> str:
    """Processor, system and Python, for the head of the table."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1] for line in info.read_text().splitlines() if "name" in line]
        cpu = models[0].strip() if models else cpu
    return f"{cpu}, {platform.system()}, Python {platform.python_version()}"
