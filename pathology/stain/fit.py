"""A reference style from what one image, several, or the slides of a whole domain show."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pathology.stain.classical import ClassicalReference, Measured, problem_of, sampled
from pathology.stain.config import StainConfig
from pathology.stain.histogram import HistogramReference
from pathology.stain.macenko import MacenkoReference
from pathology.stain.matrix import Pixels
from pathology.stain.reinhard import ReinhardReference
from pathology.stain.saved_style import StainError
from pathology.stain.tissue import look_at
from pathology.stain.unchanged import Unchanged
from pathology.stain.vahadane import VahadaneReference

Classical = ClassicalReference | Unchanged

REFERENCES: dict[str, type[ClassicalReference] | type[Unchanged]] = {
    "none": Unchanged,
    "reinhard": ReinhardReference,
    "macenko": MacenkoReference,
    "vahadane": VahadaneReference,
    "histogram": HistogramReference,
}


def fit_reference(
    samples: Iterable[Pixels],
    config: StainConfig,
    source: str = "",
    on_left_out: Callable[[str], None] = lambda problem: None,
) -> Classical:
    """The style of one or more slides by config.method.

    samples      pixels or tiles (..., 3) of each slide, 8-bit; looked at one after the other, so
                 that a generator needs memory for one slide only
    on_left_out  called with the problem of a slide before the next one is looked at
    Of several slides, stain matrices give their median and distributions are pooled, each slide
    counted alike; slides that cannot be measured are left out. Raises StainError where none can.
    """
    kind = REFERENCES[config.method]
    if not issubclass(kind, ClassicalReference):
        return Unchanged()
    parts: list[Measured] = []
    whites, problems = [], set()
    for sample in samples:
        require_colors(sample, source)
        tissue = look_at(sampled(sample, config)[None], config)
        part = kind.measure(tissue, config)
        problem = problem_of(tissue, part, config, kind.unfit)
        if problem:
            problems.add(problem)
            on_left_out(problem)
        else:
            parts.append(part)
            whites.append(np.asarray(tissue.white_G3[0], np.float64))
    if not parts:
        raise StainError(
            f"no stain reference from {source or 'the target'}: "
            f"{'; '.join(sorted(problems)) or 'it holds no pixels'}. "
            "Give H&E tissue with nuclei and stroma"
        )
    return kind.pooled(parts, whites, source)


def require_colors(pixels: Pixels, source: str) -> None:
    """Raise StainError unless pixels are 8-bit RGB."""
    if pixels.dtype != np.uint8 or pixels.ndim < 2 or pixels.shape[-1] != 3:
        raise StainError(
            f"{source or 'the target'}: pixels are {pixels.dtype} of shape {pixels.shape}, "
            "not 8-bit RGB. Convert them to RGB, 8 bits a channel"
        )
