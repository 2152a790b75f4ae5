"""Does the style make the cycle stable? The cycle terms of several trainings, over seeds.

    python benchmarks/stain_curves.py DIR

reads the metrics of the models that stain_centres.py or stain_scanners.py trained in DIR, prints
their last cycle terms, and draws curves.png: mean over runs, and the range between the extremes.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from stain_scanners import spread

from pathology.training.loop import read_metrics

TERMS = ("cycle_source", "cycle_target", "adversarial")
COLORS = ("#0b6e99", "#c2410c", "#6d28d9", "#15803d", "#854d0e")


def read_runs(folder: Path) -> dict[str, list[dict[str, np.ndarray]]]:
    """Curves by kind: one dict of term, and of step, for every run."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*.run")):
        by_step = {row["step"]: row for row in read_metrics(path / "metrics.jsonl")}
        rows = [by_step[step] for step in sorted(by_step)]
        kind = re.sub(r"(_\d+)+$", "", path.stem).replace("_", ", ")
        if rows:
            found[kind].append(
                {key: np.array([row[key] for row in rows]) for key in ("step", *TERMS)}
            )
    return dict(found)


def table(runs: dict[str, list[dict[str, np.ndarray]]]) -> str:
    """Markdown: the mean over the last fifth of training, and its spread over runs."""
    lines = [f"| model | runs | {' | '.join(TERMS)} |", "|---|--:|--:|--:|--:|"]
    for kind, curves in sorted(runs.items()):
        cells = []
        for term in TERMS:
            last = [curve[term][-max(1, len(curve[term]) // 5) :].mean() for curve in curves]
            cells.append(spread(last, 4))
        lines.append(f"| {kind} | {len(curves)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(runs: dict[str, list[dict[str, np.ndarray]]], path: Path) -> None:
    """The cycle terms over steps, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for (kind, curves), color in zip(sorted(runs.items()), COLORS, strict=False):
        for axis, term in zip(axes, TERMS, strict=False):
            length = min(len(curve["step"]) for curve in curves)
            values = np.stack([curve[term][:length] for curve in curves])
            step = curves[0]["step"][:length]
            axis.plot(step, values.mean(axis=0), color=color, label=f"{kind} ({len(curves)})")
            axis.fill_between(step, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15)
            axis.set(title=term.replace("_", " of "), xlabel="step", yscale="log")
    axes[0].set_ylabel("mean absolute difference")
    axes[1].legend(frameon=False, fontsize=8)
    figure.suptitle("cycle terms (research use only)", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    runs = read_runs(folder)
    print(table(runs))
    draw(runs, folder / "curves.png")


if __name__ == "__main__":
    main()
