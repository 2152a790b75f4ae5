"""Macenko's method: two stains from the extreme directions of optical density.

Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from pathology.stain.arrays import Array
from pathology.stain.classical import problem_of, sampled
from pathology.stain.config import StainConfig
from pathology.stain.matrix import Pixels, stain_matrices
from pathology.stain.stains import Stains, TwoStainReference
from pathology.stain.tissue import Tissue, look_at


class MacenkoReference(TwoStainReference):
    """A style of two stains, which Macenko's method finds on each slide."""

    method: Literal["macenko"] = "macenko"

    @classmethod
    def matrices(cls, tissue: Tissue, config: StainConfig) -> Array:
        """Stain matrix (G, 2, 3) of each group by Macenko's method."""
        return stain_matrices(tissue.od_GP3, tissue.is_stained_GP, config.angle_percentile)


# The default of M. Veta's widely used implementation of the method (normalizeStaining, 2013), made
# with natural logarithms and a white level of 240, as here.
TEXTBOOK = MacenkoReference(
    matrix=((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581)),
    max_concentrations=(1.9705, 1.0308),
    source="textbook H&E (Veta 2013, after Macenko et al. 2009)",
)


class Estimate(NamedTuple):
    """Stains, or None and the problem that stood in the way."""

    stains: Stains | None
    problem: str = ""


def estimate_stains(sample: Pixels, config: StainConfig) -> Estimate:
    """The staining that a sample (..., 3) of one slide's pixels shows. Never raises."""
    tissue = look_at(sampled(sample, config)[None], config)
    measured = MacenkoReference.measure(tissue, config)
    problem = problem_of(tissue, measured, config, MacenkoReference.unfit)
    if problem:
        return Estimate(None, problem)
    matrix, highest = (np.asarray(numbers[0], np.float64) for numbers in measured.numbers)
    return Estimate(Stains(matrix, highest, np.asarray(tissue.white_G3[0], np.float64)))
