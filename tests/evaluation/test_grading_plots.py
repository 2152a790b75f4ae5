"""Pictures of figures show what they should: read back from what matplotlib was told to draw."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pathology.evaluation import grading_plots
from pathology.evaluation.grading import Estimate, count_by_case, measures
from pathology.evaluation.grading_plots import draw_centres, draw_grading


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are finished, in turn."""
    found: list[Figure] = []
    finish = grading_plots._finish

    def keep(figure: Figure, path: Path) -> None:
        found.append(figure)
        finish(figure, path)

    monkeypatch.setattr(grading_plots, "_finish", keep)
    return found


def test_precision_stands_beside_the_rates(drawn: list[Figure], tmp_path: Path) -> None:
    random, grades = np.random.default_rng(0), ("healthy", "adenoma", "carcinoma")
    truth = random.integers(3, size=200)
    logits = np.exp(2 * np.eye(3)[truth] + random.normal(size=(200, 3)))
    p = logits / logits.sum(axis=1, keepdims=True)
    counts = count_by_case(p, truth, np.zeros(200, np.int64))
    draw_grading(counts, grades, tmp_path / "a.png", "slides")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    axes = {axis.get_ylabel(): axis for axis in drawn[0].axes}
    assert set(axes) == {"true", "true positive rate", "precision", "accuracy"}
    lines = {line.get_label(): line for line in axes["precision"].lines}
    found = measures(counts, np.ones(1), grades)
    for name in grades[1:]:
        recall, precision = lines[f"{name} or worse"].get_data()
        area = (np.diff(recall) * np.asarray(precision)[1:]).sum()
        assert area == pytest.approx(found[f"auprc_{name}"])


def test_a_step_that_no_item_is_beyond_is_drawn_as_nothing(
    drawn: list[Figure], tmp_path: Path
) -> None:
    counts = count_by_case(np.eye(2)[[0, 1]], np.zeros(2, np.int64), np.arange(2))
    draw_grading(counts, ("healthy", "adenoma"), tmp_path / "a.png", "slides")
    assert all(len(line.get_xdata()) == 0 for line in drawn[0].axes[2].lines)


def test_a_negative_kappa_is_seen(drawn: list[Figure], tmp_path: Path) -> None:
    nan = float("nan")
    found = {
        "all": {"kappa": Estimate(0.1, -0.3, 0.4), "auroc": Estimate(0.8, 0.7, 0.9)},
        "lonely": {"kappa": Estimate(-0.5, nan, nan), "auroc": Estimate(nan, nan, nan)},
    }
    draw_centres(found, ("kappa", "auroc"), tmp_path / "a.png", "slides by centre")
    kappa, auroc = drawn[0].axes
    assert kappa.get_xlim()[0] < -0.5
    assert auroc.get_xlim()[0] == 0
