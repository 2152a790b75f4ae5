"""The page of a stain evaluation: models side by side, in numbers and pictures, in one file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from pathology.evaluation.page import page_environment
from pathology.evaluation.remarks import is_simulated
from pathology.evaluation.report import flatten, run_facts
from pathology.evaluation.stain_chart import color_chart
from pathology.evaluation.stain_measures import MEASURES, Measure
from pathology.evaluation.stain_scores import SlideScores
from pathology.evaluation.stain_summary import (
    NONE,
    PairScore,
    Summary,
    means_by_centre,
)
from pathology.stain.matrix import Floats

MAX_ROWS = 150
CENTRE_MEASURES = ("color_distance", "h_angle", "e_angle", "structure_ssim", "nuclei_changed")
UNKNOWN = "–"  # noqa: RUF001  a dash on the page


class ModelFacts(NamedTuple):
    """A model as it is named on the page; name is unique there."""

    name: str
    method: str
    source: str
    fingerprint: str
    file: str = ""


class Picture(NamedTuple):
    """A JPEG stream with its label; empty where there is none."""

    label: str
    jpeg: bytes


class Panel(NamedTuple):
    """One tile: as it was, as each model renders it, and a tile of the target."""

    title: str
    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class StainFindings:
    """All that is shown of an evaluation.

    models         "none" among them
    slides, pairs  one score a model and slide (or pair), flags set
    target_spread  color distance of the target's own slides from each other; None if not known
    colors         tissue in L*a*b* (n, 3): "target", "source", and each model's output by name
    record         run.json; any key may be missing
    """

    models: Sequence[ModelFacts]
    slides: Sequence[SlideScores]
    pairs: Sequence[PairScore] = ()
    summary: Sequence[Summary] = ()
    panels: Sequence[Panel] = ()
    colors: Mapping[str, Floats] = field(default_factory=dict)
    target_spread: float | None = None
    problems: Sequence[tuple[str, str]] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    title: str = "Stain evaluation"

    @cached_property
    def measures(self) -> list[Measure]:
        """The measures that are known of some model, in their order."""
        known = {row.measure for row in self.summary}
        return [measure for measure in MEASURES if measure.name in known]

    @property
    def is_simulated(self) -> bool:
        """Whether slides came from the simulator."""
        return is_simulated((), self.record) or any(
            row.slide_id.startswith("sim_") for row in self.slides
        )

    @property
    def ranked(self) -> list[SlideScores]:
        """The rows of slides.csv, flagged ones first, without those of "none"."""
        rows = [row for row in self.slides if row.model != NONE]
        return sorted(rows, key=lambda row: not row.flags)

    @property
    def num_slides(self) -> int:
        """Slides that were measured."""
        return len({row.slide_id for row in self.slides})

    @property
    def num_flagged(self) -> int:
        """Rows with a flag."""
        return sum(bool(row.flags) for row in self.slides if row.model != NONE)

    def cell(self, model: str, measure: str) -> Summary | None:
        """What the summary says of a model at a measure."""
        found = [row for row in self.summary if (row.model, row.measure) == (model, measure)]
        return found[0] if found else None

    @cached_property
    def paired_slides(self) -> list[str]:
        """Slides with pairs."""
        return list(dict.fromkeys(row.slide_id for row in self.pairs))

    def paired(self, model: str, slide_id: str) -> str:
        """Mean SSIM and PSNR of a model over the pairs of a slide, as text."""
        rows = [row for row in self.pairs if (row.model, row.slide_id) == (model, slide_id)]
        if not rows:
            return UNKNOWN
        ssim, psnr = (sum(values) / len(rows) for values in _columns(rows))
        return f"{ssim:.3f} / {psnr:.1f}"


def render_stain_page(findings: StainFindings) -> str:
    """The page as HTML text. Everything that came from outside is escaped."""
    colors = dict(findings.colors)
    target, source = colors.pop("target", None), colors.pop("source", None)
    chart = "" if target is None or source is None else color_chart(target, source, colors)
    by_centre = means_by_centre(findings.slides)
    return (
        _environment()
        .get_template("stain.html.j2")
        .render(
            run=findings,
            facts=run_facts(findings.record),
            settings=list(flatten(findings.record.get("config"))),
            libraries=list(flatten(findings.record.get("libraries"))),
            chart=Markup(chart),  # noqa: S704  made here, labels escaped
            by_centre=[
                (measure, by_centre[measure.name])
                for measure in MEASURES
                if measure.name in CENTRE_MEASURES and measure.name in by_centre
            ],
            centres=sorted({row.centre for row in findings.slides if row.centre}),
            max_rows=MAX_ROWS,
            none=NONE,
        )
    )


def written(value: float | None, pattern: str) -> str:
    """A number in its pattern, or a dash.

    >>> written(0.98765, "{:.3f}"), written(None, "{:.3f}") == UNKNOWN
    ('0.988', True)
    """
    return UNKNOWN if value is None else pattern.format(value)


def change(before: float | None, after: float | None, pattern: str) -> str:
    """A number before and after.

    >>> change(14.0, 3.02, "{:.1f}")
    '14.0 → 3.0'
    """
    if before is None:
        return written(after, pattern)
    return f"{written(before, pattern)} → {written(after, pattern)}"


def interval(summary: Summary, pattern: str) -> str:
    """The interval of a summary without units, or nothing.

    >>> interval(Summary("a", "psnr", 20.0, 19.42, 20.18, 9, "slides"), "{:.1f} dB")
    '19.4 to 20.2'
    """
    if summary.low is None or summary.high is None:
        return ""
    if not pattern.endswith("%}"):
        pattern = pattern[: pattern.index("}") + 1]
    return f"{pattern.format(summary.low)} to {pattern.format(summary.high)}"


def _columns(rows: Sequence[PairScore]) -> tuple[list[float], list[float]]:
    return [row.ssim for row in rows], [row.psnr for row in rows]


def _environment() -> Environment:
    environment = page_environment()
    environment.filters |= {
        "written": written,
        "interval": interval,
        "jpeg": lambda data: f"data:image/jpeg;base64,{base64.b64encode(data).decode()}",
    }
    environment.globals["change"] = change
    return environment
