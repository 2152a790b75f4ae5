"""How sure are adapted classifiers, and how sure should they be? Before and after calibration.

    python benchmarks/adapt_calibration.py --data DIR --out DIR

The task of adapt_methods.py. The temperature is fitted on the source's patients set aside; the
calibration error (ECE) and the log loss are of the target's test photos.
"""

import sys

import numpy as np
from adapt_data import ALL, ON_CPU, ColonData, Setting
from adapt_methods import parse
from measure import keep_to_cores
from numpy.typing import NDArray

from pathology.adapt.balance import probabilities
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import TARGET
from pathology.core.config import load_config
from pathology.evaluation.grading import count_by_case, measures
from pipelines.adapt_scores import calibrate, see
from pipelines.adapt_training import train_on

METHODS = ("dman+mcc", "source")


def figures(answers_NC: NDArray[np.float64], label_N: NDArray[np.int64]) -> tuple[float, float]:
    """Calibration error, and log loss."""
    counts = count_by_case(answers_NC, label_N, np.zeros(len(label_N), np.int64))
    ece = measures(counts, np.ones(1), ("benign", "malignant"))["ece"]
    own_N = answers_NC[np.arange(len(label_N)), label_N]
    return ece, float(-np.log(np.maximum(own_N, 1e-9)).mean())


def main(words: list[str]) -> None:
    options = parse(words)
    keep_to_cores(2)
    base = load_config(AdaptConfig, None, options.set)
    data = ColonData(options.data, options.out / "data", base, options.device)
    print("| | temperature | ECE | calibrated | log loss | calibrated |\n|---|--:|--:|--:|--:|--:|")
    for method in options.methods or METHODS:
        for seed in range(options.seeds):
            config = base.model_copy(update={"method": method, "seed": seed})
            domains, test = data.domains(Setting(), seed)
            folder = options.out / "calibration" / f"{method}_{seed}"
            model = train_on(domains, config, ON_CPU, folder)
            before = figures(probabilities(model, test.read(ALL), TARGET), test.label_N)
            found = calibrate(see(model, domains.target, config), domains.val)
            after = figures(probabilities(model, test.read(ALL), TARGET), test.label_N)
            cells = [f"{a:.3f} | {b:.3f}" for a, b in zip(before, after, strict=True)]
            print(f"| {method}, {seed} | {found['temperature']:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
