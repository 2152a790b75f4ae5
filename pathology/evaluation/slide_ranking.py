"""How well slides are put in order: what a training is chosen by, without any threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_auroc(probability_SC: NDArray[np.float64], grade_S: NDArray[np.int64]) -> float:
    """Mean over the steps between grades of the AUROC of P(grade >= k) for slides of at least k.

    returns  from 0 to 1, 0.5 for a guess; nan where all slides have one grade
    """
    from sklearn.metrics import roc_auc_score

    beyond_SC = np.cumsum(probability_SC[:, ::-1], axis=1)[:, ::-1]
    found = [
        roc_auc_score(grade_S >= k, beyond_SC[:, k])
        for k in range(1, probability_SC.shape[1])
        if 0 < np.count_nonzero(grade_S >= k) < len(grade_S)
    ]
    return float(np.mean(found)) if found else float("nan")
