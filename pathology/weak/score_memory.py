"""What every tile was last thought to be: running scores that are state of the training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class ScoreMemory:
    """A running score of each of N tiles for its slide's grade: q <- (1 - rate) q + rate p[y].

    Scores begin at 1, as in the public code of Chen et al., MICCAI 2019, so that every tile counts
    until the network has said otherwise. rate 1 keeps the last word alone.
    """

    def __init__(self, num_tiles: int, rate: float) -> None:
        self.rate = rate
        self.scores_N: NDArray[np.float64] = np.ones(num_tiles)

    def update(self, rows_B: NDArray[np.int64], scores_B: NDArray[np.float64]) -> None:
        """Take in new scores of some tiles; of a tile that comes twice, their mean."""
        if not len(rows_B):
            return
        rows, place = np.unique(rows_B, return_inverse=True)
        mean = np.bincount(place, scores_B) / np.bincount(place)
        self.scores_N[rows] = (1 - self.rate) * self.scores_N[rows] + self.rate * mean

    def state_dict(self) -> dict[str, Any]:
        """All there is to remember."""
        return {"rate": self.rate, "scores": torch.from_numpy(self.scores_N.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave. Raises ValueError for another number of tiles."""
        scores = state["scores"].numpy()
        if len(scores) != len(self.scores_N):
            raise ValueError(f"scores of {len(scores)} tiles where there are {len(self.scores_N)}")
        self.rate, self.scores_N = float(state["rate"]), scores.copy()
