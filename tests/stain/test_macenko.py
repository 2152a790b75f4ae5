"""Macenko's estimate of a slide's staining, and what becomes of it."""

import numpy as np
import pytest

from pathology.stain.config import StainConfig
from pathology.stain.fit import fit_reference
from pathology.stain.macenko import TEXTBOOK, MacenkoReference, estimate_stains
from pathology.stain.matrix import angle_between
from pathology.stain.stains import ONE_STAIN
from tests.stain.synthetic import MATRIX, he_tiles

CONFIG = StainConfig()


def test_staining_is_measured() -> None:
    stains = estimate_stains(he_tiles(8), CONFIG).stains
    assert stains is not None
    assert angle_between(stains.matrix[0], MATRIX[0]) < 2
    assert angle_between(stains.matrix[1], MATRIX[1]) < 2
    assert stains.white_level == pytest.approx([243] * 3, abs=1)
    assert stains.max_concentrations == pytest.approx([1.8, 1.1], abs=0.15)


def test_one_stain_is_named() -> None:
    found = estimate_stains(he_tiles(4, matrix=MATRIX[[0, 0]]), CONFIG)
    assert (found.stains, found.problem) == (None, ONE_STAIN)


def test_the_slide_s_own_staining_is_told() -> None:
    told = TEXTBOOK.for_slide(he_tiles(8), CONFIG).measured()
    stains = estimate_stains(he_tiles(8), CONFIG).stains
    assert stains is not None
    assert told["hematoxylin"] == " ".join(f"{value:.4f}" for value in stains.matrix[0])
    assert told["h_shift"] == pytest.approx(
        angle_between(stains.matrix[0], TEXTBOOK.stains.matrix[0]), abs=0.01
    )
    assert told["e_gain"] == pytest.approx(1.0308 / stains.max_concentrations[1], abs=1e-3)
    assert told["white_level"] == "243 243 243"


def test_a_faint_stain_is_strengthened_up_to_the_limit_only() -> None:
    faint = he_tiles(8).astype(float)
    faint = np.rint(243 * (faint / 243) ** 0.3).clip(0, 255).astype(np.uint8)
    config = StainConfig(max_gain=1.5, min_od=0.05)
    told = TEXTBOOK.for_slide(faint, config).measured()
    assert max(told["h_gain"], told["e_gain"]) == 1.5


def test_the_median_reference_ignores_one_odd_slide() -> None:
    odd = he_tiles(matrix=np.array([[0.9, 0.3, 0.3], [0.3, 0.3, 0.9]]))
    reference = fit_reference([he_tiles(seed=1), odd, he_tiles(seed=2)], CONFIG)
    assert isinstance(reference, MacenkoReference)
    assert angle_between(reference.stains.matrix[0], MATRIX[0]) < 3


def test_the_fingerprint_of_a_known_style_is_kept() -> None:
    assert TEXTBOOK.fingerprint == "af38f947fddc"
