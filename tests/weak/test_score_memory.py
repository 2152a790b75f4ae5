"""What is remembered of tiles: the formula, tiles that come twice, and going on."""

import numpy as np
import pytest

from pathology.weak.score_memory import ScoreMemory


def test_on_paper() -> None:
    memory = ScoreMemory(3, rate=0.2)
    memory.update(np.array([0, 2]), np.array([0.5, 0.0]))
    assert memory.scores_N == pytest.approx([0.9, 1.0, 0.8])
    memory.update(np.array([2, 0]), np.array([1.0, 0.4]))  # in any order
    assert memory.scores_N == pytest.approx([0.8, 1.0, 0.84])


def test_of_a_tile_that_comes_twice_the_mean_counts_once() -> None:
    memory = ScoreMemory(2, rate=0.5)
    memory.update(np.array([1, 0, 1]), np.array([0.2, 0.0, 0.6]))
    assert memory.scores_N == pytest.approx([0.5, 0.7])  # 0.5 * 1 + 0.5 * 0.4


def test_rate_one_keeps_the_last_word_and_nothing_new_changes_nothing() -> None:
    memory = ScoreMemory(2, rate=1.0)
    memory.update(np.array([0, 1]), np.array([0.25, 0.75]))
    memory.update(np.zeros(0, np.int64), np.zeros(0))
    assert memory.scores_N.tolist() == [0.25, 0.75]


def test_it_goes_on_where_it_was_and_not_with_other_tiles() -> None:
    memory, other = ScoreMemory(2, rate=0.2), ScoreMemory(2, rate=0.9)
    memory.update(np.array([1]), np.array([0.0]))
    other.load_state_dict(memory.state_dict())
    memory.update(np.array([1]), np.array([0.0]))
    assert (other.rate, other.scores_N.tolist()) == (0.2, [1.0, 0.8])
    with pytest.raises(ValueError, match="scores of 2 tiles where there are 3"):
        ScoreMemory(3, rate=0.2).load_state_dict(memory.state_dict())
