"""Sparse factorization: exact codes, a falling cost, a known matrix, the same by another road."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.decomposition import DictionaryLearning

from pathology.stain.matrix import angle_between
from pathology.stain.vahadane import better_rows, factorized, sparse_codes
from tests.stain.synthetic import MATRIX, OTHER


def density(num: int = 3000, seed: int = 0) -> np.ndarray:
    """Optical density (1, num, 3) of pixels that mostly carry one stain."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 3, num)
    h = random.uniform(0.5, 2.0, num) * np.array([1.0, 0.0, 0.6])[kinds]
    e = random.uniform(0.4, 1.2, num) * np.array([0.0, 1.0, 0.6])[kinds]
    noise = random.normal(0, 0.01, (num, 3))
    return np.maximum(np.stack([h, e], axis=1) @ MATRIX + noise, 0)[None].astype(np.float32)


def cost(od: np.ndarray, codes: np.ndarray, rows: np.ndarray, sparsity: float) -> float:
    return float(0.5 * ((od - codes @ rows) ** 2).sum() + sparsity * codes.sum())


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5])
def test_codes_are_those_that_a_solver_finds(sparsity: float) -> None:
    od, rows = density(40), OTHER[None].astype(np.float32)
    codes = sparse_codes(od, rows, sparsity)
    for pixel, found in zip(od[0], codes[0], strict=True):
        solved = minimize(
            lambda c, p=pixel: 0.5 * ((p - c @ OTHER) ** 2).sum() + sparsity * c.sum(),
            [0.5, 0.5],
            bounds=[(0, None)] * 2,
            tol=1e-12,
        )
        assert found == pytest.approx(solved.x, abs=1e-3)
    assert (codes == 0).any() and (codes >= 0).all()


def test_the_cost_falls_until_nothing_moves() -> None:
    od, rows = density(), OTHER[None].astype(np.float32)
    costs = []
    for _ in range(30):
        codes = sparse_codes(od, rows, 0.1)
        costs.append(cost(od, codes, rows, 0.1))
        turned = codes.transpose(0, 2, 1)
        rows = better_rows(turned @ codes, turned @ od, rows)
    assert (np.diff(costs) <= 1e-3 * costs[0]).all()
    assert costs[-1] < 0.95 * costs[0]
    assert costs[-2] - costs[-1] < 1e-3 * (costs[0] - costs[-1])


def test_a_known_matrix_is_found_from_another() -> None:
    found = factorized(density(), OTHER[None].astype(np.float32), 0.02)[0]
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    assert angle_between(found[0], MATRIX[0]) < 3
    assert angle_between(found[1], MATRIX[1]) < 3


def test_scikit_learn_s_dictionary_is_about_the_same() -> None:
    od = density(1500)
    found = factorized(od, OTHER[None].astype(np.float32), 0.1)[0]
    learned = DictionaryLearning(
        2,
        alpha=0.1,
        max_iter=200,
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        positive_dict=True,
        positive_code=True,
        dict_init=OTHER,
        code_init=np.full((1500, 2), 0.5),
        random_state=0,
    ).fit(od[0].astype(np.float64))
    rows = learned.components_[np.argsort(-learned.components_[:, 0])]
    assert angle_between(found[0], rows[0]) < 1
    assert angle_between(found[1], rows[1]) < 1


def test_a_stain_that_nothing_uses_stays() -> None:
    rows = MATRIX[None].astype(np.float32)
    od = np.zeros((1, 50, 3), np.float32)
    assert (factorized(od, rows, 0.1) == rows).all()
