"""What does each part of rectification and of the upper-transition loss give?

On the slides of weak_methods.py, in the same folder if wished: rce-ut by its defaults, then with
one thing changed at a time.
"""

import argparse
import sys

from measure import keep_to_cores
from weak_methods import encode_tiles, make_cohort, parse, run_all, table

CHANGES = {
    "without running score": ("rectify.score_rate=1",),
    "without soft ramp": ("rectify.ramp=hard",),
    "ramp by rank": ("rectify.ramp=rank",),
    "lambda 0.3": ("upper.weight=0.3",),
    "lambda 3": ("upper.weight=3",),
    "lambda 10": ("upper.weight=10",),
    "lambda 30": ("upper.weight=30",),
    "upper transition by class": ("upper.form=class",),
    "left out 0.3, full 0.3": ("rectify.low=[0.3]", "rectify.up=[0.3]"),
    "left out 0.3, full 0.1": ("rectify.low=[0.3]",),
    "left out 0.6, full 0.1": ("rectify.low=[0.6]",),
    "left out 0.8, full 0.1": ("rectify.low=[0.8]",),
    "left out 0.9, full 0.02": ("rectify.low=[0.9]", "rectify.up=[0.02]"),
}
WHOLE = {"rce-ut": "by default", "rce": "without upper transition", "ut": "without rectification"}


def main(words: list[str]) -> None:
    options = parse(words)
    if options.device == "cpu":
        keep_to_cores(2)
    manifest = make_cohort(options)
    features = encode_tiles(options, manifest)

    def run(**ways: object) -> dict[str, list[dict[str, float]]]:
        return run_all(argparse.Namespace(**vars(options) | ways), features, manifest)

    whole = run(methods=list(WHOLE))  # the models of weak_methods.py
    found = {WHOLE[method]: runs for method, runs in whole.items()}
    for name, settings in CHANGES.items():
        label = name.replace(" ", "_").replace(",", "")
        found |= {
            name: run(methods=["rce-ut"], label=label, set=[*options.set, *settings])["rce-ut"]
        }
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
