"""The report of a tiling run: one HTML page that carries all it shows."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from pathology.evaluation.chart import steps_chart
from pathology.evaluation.page import page_environment
from pathology.evaluation.remarks import (
    Failure,
    failures_of,
    first_looks,
    is_simulated,
    stain_remarks,
    steps_of,
    tiling_remarks,
)
from pathology.evaluation.sections import Section
from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import DONE, SlideOutcome

SHORT_COMMIT = 12
FILTERS = ("blur", "pen", "black", "white")
MAX_LISTED = 40
SOURCES = {
    "manifest": "given in the manifest",
    "slide": "said by the slide",
    "tiff": "from the TIFF's resolution tags",
    "assumed": "assumed",
}


class TilePair(NamedTuple):
    """A tile as JPEG streams: as it was cut, and as it was normalized (empty where it was not)."""

    l0_xy: tuple[int, int]
    before: bytes
    after: bytes = b""


class Part(NamedTuple):
    """A share, in percent, of a slide's tissue tiles, by the filter that took them or "kept"."""

    name: str
    percent: float


@dataclass(frozen=True)
class SlideFindings:
    """All that is shown of one slide.

    overlay  JPEG stream of the picture of its tiles, or empty
    heatmap  of the grades of its tiles, or empty
    grade    what the slide was graded, in words, or empty
    """

    outcome: SlideOutcome
    overlay: bytes = b""
    samples: Sequence[TilePair] = ()
    stain: StainOutcome | None = None
    heatmap: bytes = b""
    grade: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether there is more to show than the reason why there is nothing."""
        return bool(self.overlay or self.samples or self.outcome.plan)

    @property
    def remarks(self) -> list[str]:
        """Warnings about the slide."""
        return tiling_remarks(self.outcome) + stain_remarks(self.stain)

    @property
    def parts(self) -> list[Part]:
        """What became of the tissue tiles, in percent."""
        outcome = self.outcome
        if not outcome.num_tissue:
            return []
        counts = {"kept": outcome.num_tiles}
        counts |= {name: getattr(outcome, f"num_{name}") or 0 for name in FILTERS}
        return [Part(name, 100 * num / outcome.num_tissue) for name, num in counts.items() if num]


@dataclass(frozen=True)
class RunFindings:
    """All that is shown of a run.

    record        run.json of the tiling run; any key may be missing
    stain_record  run.json of the normalization, where there was one
    sections      on what was made of the tiles
    """

    slides: Sequence[SlideFindings]
    record: Mapping[str, Any] = field(default_factory=dict)
    stain_record: Mapping[str, Any] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    title: str = "Tiling report"

    @property
    def outcomes(self) -> list[SlideOutcome]:
        """The rows of all slides."""
        return [slide.outcome for slide in self.slides]

    @property
    def failures(self) -> list[Failure]:
        """Slides without tiles, with problem and remedy."""
        return failures_of(self.outcomes)

    @property
    def is_simulated(self) -> bool:
        """Whether slides came from the simulator."""
        return is_simulated(self.outcomes, self.record)

    @property
    def is_normalized(self) -> bool:
        """Whether anything is known of a stain normalization."""
        return any(slide.stain is not None for slide in self.slides)

    def total(self, name: str) -> float:
        """Sum of a column over all slides."""
        return sum(getattr(outcome, name) or 0 for outcome in self.outcomes)

    @property
    def num_done(self) -> int:
        """Slides with tiles."""
        return sum(outcome.status == DONE for outcome in self.outcomes)


def render_report(findings: RunFindings) -> str:
    """The page as HTML text. Everything that came from outside is escaped."""
    steps = steps_of(findings.outcomes)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=findings,
            facts=run_facts(findings.record),
            settings=list(flatten(findings.record.get("config"))),
            libraries=list(flatten(findings.record.get("libraries"))),
            stain_facts=stain_facts(findings.stain_record),
            reference=_reference_of(findings.stain_record),
            chart=Markup(steps_chart(steps)) if steps else "",  # noqa: S704  made here, label escaped
            first=first_looks({s.outcome.slide_id: s.remarks for s in findings.slides}),
            max_listed=MAX_LISTED,
        )
    )


def run_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was run, in words; what the record does not say is left out."""
    machine = record.get("machine", "")
    if isinstance(machine, Mapping):
        machine = ", ".join(
            f"{value} cores" if name == "cores" else str(value) for name, value in machine.items()
        )
    version = str(record.get("version", ""))
    if record.get("commit"):
        commit = str(record["commit"])
        changed = " with local changes" if commit.endswith("+") else ""
        version += f", commit {commit.rstrip('+')[:SHORT_COMMIT]}{changed}"
    inputs = record.get("inputs")
    said = {
        "Command": record.get("command"),
        "Input": ", ".join(f"{n}: {v}" for n, v in flatten(inputs) if v) if inputs else "",
        "Started": moment(record.get("started")),
        "Finished": moment(record.get("finished")),
        "Time": duration(record["seconds"]) if _is_number(record.get("seconds")) else "",
        "Version": version,
        "Machine": machine,
    }
    return [(name, str(value)) for name, value in said.items() if value]


def stain_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the stain was normalized, in words."""
    config, reference = _mapping(record.get("config")), _mapping(record.get("reference"))
    said = {
        "Method": config.get("method"),
        "Reference": reference.get("source"),
        "Fingerprint": _mapping(record.get("inputs")).get("reference"),
        "Tiles": record.get("num_tiles"),
        "Passed through unchanged": record.get("num_passed_through"),
    }
    return [(name, str(value)) for name, value in said.items() if value not in (None, "")]


def flatten(values: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as dotted names and values."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from flatten(value, f"{prefix}.{name}" if prefix else str(name))
    elif values is not None:
        yield prefix, str(values)


def moment(text: Any) -> str:
    """An ISO 8601 time as people write it.

    >>> moment("2026-11-23T03:28:07+00:00"), moment(None)
    ('2026-11-23 03:28:07 UTC', '')
    """
    return str(text or "").replace("T", " ", 1).replace("+00:00", " UTC")


def short_vector(vector: str) -> str:
    """A stain vector "R G B" with two decimals.

    >>> short_vector("0.5626 0.7201 0.4062")
    '0.56 0.72 0.41'
    """
    return " ".join(f"{float(part):.2f}" for part in vector.split())


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(7.25), duration(754), duration(7300)
    ('7.2 s', '12 min 34 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def file_size(num_bytes: float | None) -> str:
    """Bytes as people say them; nothing for an unknown size.

    >>> file_size(1938955), file_size(None)
    ('1.94 MB', '')
    """
    if num_bytes is None:
        return ""
    value, units = float(num_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def stain_color(vector: str) -> str:
    """The color of a moderate amount of a stain with vector "R G B", as CSS; empty if unknown.

    >>> stain_color("0.65 0.70 0.29")
    'rgb(133, 127, 191)'
    """
    try:
        od = np.array([float(part) for part in vector.split()])
    except ValueError:
        return ""
    if od.shape != (3,) or not np.isfinite(od).all():
        return ""
    red, green, blue = np.clip(np.rint(255 * np.exp(-od)), 0, 255).astype(int).tolist()
    return f"rgb({red}, {green}, {blue})"


def _reference_of(record: Mapping[str, Any]) -> list[str]:
    """The two stain vectors of the reference as text, or nothing."""
    rows = _mapping(record.get("reference")).get("matrix")
    if not isinstance(rows, list | tuple) or len(rows) != 2:
        return []
    return [" ".join(f"{value:.4f}" for value in row if _is_number(value)) for row in rows]


def _environment() -> Environment:
    environment = page_environment()
    environment.filters |= {
        "size": file_size,
        "duration": duration,
        "short_vector": short_vector,
        "source_in_words": lambda source: SOURCES.get(source, source),
        "stain_color": stain_color,
        "file_name": lambda path: PurePath(str(path)).name,
        "number": lambda value: "" if value is None else f"{value:,}",
        "jpeg": lambda data: f"data:image/jpeg;base64,{base64.b64encode(data).decode()}",
    }
    return environment


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
