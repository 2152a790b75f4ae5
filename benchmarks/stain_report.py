"""The tables of the stain benchmark: medians, ratios within a repeat, and the targets."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from report import MEBIBYTE, ratios, shown
from stain_contenders import Contender, StainMeasurement
from stain_slide import SlideRun

LUT, MACENKO, THEIR_MACENKO = "ours lut", "ours macenko", "TIAToolbox macenko"
MIN_LUT_RATE = 2000
MIN_MACENKO_RATIO = 20
MAX_PEAK_MIB = 1500
NOTED_SHARE = 0.01  # of unchanged tiles


@dataclass(frozen=True)
class Row:
    """One contender over all repeats. Ratios, one a repeat, are ours over theirs.

    slide_ratios   our same method, which measures the slide once
    tile_ratios    our same method, which measures every tile
    lut_ratios     our lookup table
    """

    name: str
    variant: str
    num_tiles: int
    tiles_per_s: float
    tiles_per_s_range: tuple[float, float]
    slide_ratios: list[float]
    tile_ratios: list[float]
    lut_ratios: list[float]
    peak_mib: float
    change: float
    remark: str


def summarize(
    contenders: Iterable[Contender], measurements: Sequence[StainMeasurement], lut: str
) -> list[Row]:
    """lut is the name of the lookup table that the peers are held against."""
    return [summarize_one(contender, measurements, lut) for contender in contenders]


def summarize_one(contender: Contender, measurements: Sequence[StainMeasurement], lut: str) -> Row:
    name = contender.name
    mine = [m for m in measurements if m.contender == name]
    good = [m for m in mine if m.problem is None and m.num_tiles]
    if not good:
        said = (mine and mine[0].problem) or "no tile was done"
        return Row(name, "", 0, 0, (0, 0), [], [], [], 0, 0, f"failed: {said}")
    rates = [m.tiles_per_s for m in good]
    is_peer = bool(contender.same)
    return Row(
        name,
        good[0].variant.partition(", ")[2],
        good[0].num_tiles,
        statistics.median(rates),
        (min(rates), max(rates)),
        ratios(contender.same, good, measurements),
        ratios(contender.per_tile, good, measurements),
        ratios(lut, good, measurements) if is_peer else [],
        max(m.peak_rss_bytes for m in good) / MEBIBYTE,
        statistics.mean(m.change for m in good),
        "; ".join(remarks(mine, good)),
    )


def remarks(mine: list[StainMeasurement], good: list[StainMeasurement]) -> list[str]:
    """Failed runs and tiles that came back as they were, if that is worth a word."""
    said = [f"{len(mine) - len(good)} of {len(mine)} runs failed"] if good != mine else []
    share = statistics.mean(m.unchanged_share for m in good)
    return [*said, f"{share:.0%} of the tiles unchanged"] if share > NOTED_SHARE else said


def markdown(rows: Iterable[Row]) -> str:
    lines = [
        "| contender | two cores as | tiles | tiles/s (min to max) | ours, by slide ÷ it "
        "| ours, by tile ÷ it | lookup table ÷ it | peak MiB | change, gray levels | remark |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        low, high = row.tiles_per_s_range
        cells = [
            row.name,
            row.variant,
            f"{row.num_tiles}",
            f"{row.tiles_per_s:.0f} ({low:.0f} to {high:.0f})",
            shown(row.slide_ratios),
            shown(row.tile_ratios),
            shown(row.lut_ratios),
            f"{row.peak_mib:.0f}",
            f"{row.change:.1f}",
            row.remark,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def slide_markdown(runs: Sequence[SlideRun]) -> str:
    """Whole commands on one slide."""
    lines = [
        "| whole command | seconds | tiles/s (min to max) | peak MiB | with shared pages once "
        "for each process | output MiB | remark |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for name in dict.fromkeys(run.name for run in runs):
        mine = [run for run in runs if run.name == name]
        good = [run for run in mine if run.problem is None]
        if not good:
            lines.append(f"| {name} | | | | | | failed: {mine[0].problem} |")
            continue
        rates = [run.tiles_per_s for run in good]
        cells = [
            name,
            f"{statistics.median(run.seconds for run in good):.1f}",
            f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})",
            f"{max(run.peak_pss_bytes for run in good) / MEBIBYTE:.0f}",
            f"{max(run.peak_rss_bytes for run in good) / MEBIBYTE:.0f}",
            f"{good[0].output_bytes / MEBIBYTE:.1f}",
            f"{len(mine) - len(good)} of {len(mine)} runs failed" if good != mine else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def targets(
    rows: Sequence[Row],
    measurements: Sequence[StainMeasurement],
    runs: Sequence[SlideRun],
    lut: str,
) -> list[str]:
    """What was to be reached and whether it was, one line each; nothing of what did not run."""
    tables = (lut, lut.replace(LUT, f"{LUT} alone", 1))
    theirs = [m for m in measurements if m.contender == THEIR_MACENKO and m.problem is None]
    held = ratios(MACENKO, theirs, measurements)
    good = [run for run in runs if run.problem is None]
    said = [
        _target(f"{row.name}, tiles/s", row.tiles_per_s, MIN_LUT_RATE)
        for row in rows
        if row.name in tables and row.num_tiles
    ]
    if held:
        ratio = statistics.median(held)
        said.append(_target(f"{MACENKO} ÷ {THEIR_MACENKO}", ratio, MIN_MACENKO_RATIO))
    for name in dict.fromkeys(run.name for run in good):
        peak = max(run.peak_pss_bytes for run in good if run.name == name) / MEBIBYTE
        is_met = "reached" if peak <= MAX_PEAK_MIB else "MISSED"
        said.append(f"{name}: peak {peak:.0f} MiB, at most {MAX_PEAK_MIB} allowed: {is_met}")
    return said


def _target(what: str, value: float, least: float) -> str:
    is_met = "reached" if value >= least else "MISSED"
    return f"{what}: {value:,.1f}, at least {least:,} wanted: {is_met}"
