"""TIAToolbox: every tile measured and normalized by itself, as its `transform` does."""

from collections.abc import Callable
from functools import partial

import cv2
from stain_peer import Job, Render, Spread, Variant, main, per_tile
from tiatoolbox.tools.stainnorm import get_normalizer

METHODS = ("reinhard", "macenko", "vahadane")
SPREADS: tuple[Spread, ...] = ("processes", "threads")


def prepare(job: Job, method: str) -> Callable[[], Render]:
    cv2.setNumThreads(1)
    normalizer = get_normalizer(method)
    normalizer.fit(job.target)
    return lambda: partial(per_tile, normalizer.transform)


if __name__ == "__main__":
    main(
        {
            f"{method}, {spread}": Variant(partial(prepare, method=method), spread)
            for method in METHODS
            for spread in SPREADS
        }
    )
