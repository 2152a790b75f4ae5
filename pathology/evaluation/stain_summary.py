"""Models side by side: means over slides with intervals, and which is best at what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.evaluation.stain_measures import MEASURES, Measure
from pathology.evaluation.stain_scores import SlideScores

NONE = "none"  # the model that changes nothing, in every table
MIN_UNITS = 6  # fewer say too little for an interval


@dataclass(frozen=True)
class PairScore:
    """One row of pairs.csv: how near a model brings a picture to its reference."""

    model: str
    slide_id: str
    pair: str
    ssim: float
    psnr: float


@dataclass(frozen=True)
class Summary:
    """A model at one measure: the mean over units (slides or pairs), and a 95 % interval.

    low, high  None where there are five units or fewer
    """

    model: str
    measure: str
    mean: float
    low: float | None
    high: float | None
    num_units: int
    unit: str
    is_best: bool = False

    def row(self) -> dict[str, Any]:
        """The summary as a flat row."""
        return asdict(self)


def summarize(
    slides: Sequence[SlideScores], pairs: Sequence[PairScore], config: StainEvaluationConfig
) -> list[Summary]:
    """Every model at every measure that is known of it, the best of each marked.

    Pairs are averaged over all pairs; their interval is over slides where there are six or more,
    and over pairs otherwise.
    """
    models = list(dict.fromkeys([row.model for row in slides] + [row.model for row in pairs]))
    found: list[Summary] = []
    for measure in MEASURES:
        rows = [
            summary
            for model in models
            if (summary := _summary(model, measure, slides, pairs, config)) is not None
        ]
        best = best_of({row.model: row.mean for row in rows}, measure)
        found += [Summary(**{**row.row(), "is_best": row.model in best}) for row in rows]
    return found


def best_of(means: Mapping[str, float], measure: Measure) -> set[str]:
    """The models that share the best mean as it is written; nobody where all do.

    "none" is left out where it must win.

    >>> best_of({"none": 14.0, "a": 3.04, "b": 2.98}, MEASURES[2]) == {"a", "b"}
    True
    """
    rivals = {
        model: measure.pattern.format(mean)
        for model, mean in means.items()
        if not (measure.is_trivial and model == NONE)
    }
    badness: dict[str, Callable[[float], float]] = {
        "more": lambda mean: -mean,
        "less": lambda mean: mean,
        "same": lambda mean: abs(mean - means.get(NONE, 1.0)),
    }
    if not rivals:
        return set()
    first = min(rivals, key=lambda model: badness[measure.better](means[model]))
    best = {model for model, written in rivals.items() if written == rivals[first]}
    return best if len(best) < len(rivals) else set()


def bootstrap_interval(
    terms: NDArray[np.float64], num_resamples: int, seed: int
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a ratio of sums when whole units are drawn anew.

    terms  (n, 2) numerator and denominator of each unit: sum and number of its values, for a mean
    None for five units or fewer. (Efron and Tibshirani, An introduction to the bootstrap, 1993.)
    """
    if len(terms) < MIN_UNITS:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(terms), (num_resamples, len(terms)))
    sums = terms[drawn].sum(axis=1)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5]).tolist()
    return low, high


def means_by_centre(slides: Sequence[SlideScores]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over slides by measure, model and centre; empty for fewer than two centres."""
    groups: dict[tuple[str, str], list[SlideScores]] = {}
    for row in slides:
        if row.centre:
            groups.setdefault((row.model, row.centre), []).append(row)
    table: dict[str, dict[str, dict[str, float]]] = {}
    if len({centre for _, centre in groups}) < 2:
        return table
    for measure in MEASURES:
        for (model, centre), rows in groups.items():
            terms = _slide_terms(rows, measure)
            if len(terms):
                by_centre = table.setdefault(measure.name, {}).setdefault(model, {})
                by_centre[centre] = _mean(terms)
    return table


def _summary(
    model: str,
    measure: Measure,
    slides: Sequence[SlideScores],
    pairs: Sequence[PairScore],
    config: StainEvaluationConfig,
) -> Summary | None:
    if measure.of_pairs:
        terms, unit = _pair_terms([row for row in pairs if row.model == model], measure.name)
    else:
        terms = _slide_terms([row for row in slides if row.model == model], measure)
        unit = "slides"
    if not len(terms):
        return None
    low, high = bootstrap_interval(terms, config.num_resamples, config.seed) or (None, None)
    return Summary(model, measure.name, _mean(terms), low, high, len(terms), unit)


def _pair_terms(rows: Sequence[PairScore], name: str) -> tuple[NDArray[np.float64], str]:
    """Terms by slide, or by pair where there are too few slides for an interval."""
    by_slide: dict[str, list[float]] = {}
    for row in rows:
        by_slide.setdefault(row.slide_id, []).append(getattr(row, name))
    if len(by_slide) >= MIN_UNITS:
        return np.array([(sum(values), len(values)) for values in by_slide.values()]), "slides"
    flat = [(value, 1.0) for values in by_slide.values() for value in values]
    return np.array(flat, np.float64).reshape(-1, 2), "pairs"


def _slide_terms(rows: Sequence[SlideScores], measure: Measure) -> NDArray[np.float64]:
    """Numerators and denominators (n, 2) of a measure on the slides where it is known."""
    known = [] if measure.of_pairs else [row.terms(measure.name) for row in rows]
    return np.array([terms for terms in known if terms is not None], np.float64).reshape(-1, 2)


def _mean(terms: NDArray[np.float64]) -> float:
    return float(terms[:, 0].sum() / terms[:, 1].sum())
