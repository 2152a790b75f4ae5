"""The project's own normalizers: measured on the slide once, or tile by tile, then rendered.

What reads the model's file is imported by the variant that needs it, as torch takes memory.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from peer import NUM_WORKERS
from stain_peer import Job, Pixels, Render, Spread, Variant, main

from pathology.stain.config import StainConfig

CLASSICAL = ("reinhard", "macenko", "vahadane", "histogram")
QUALITIES = ("teacher", "student", "lut")
SPREADS: tuple[Spread, ...] = ("processes", "threads")
AT_ONCE = 16


def prepare_classical(job: Job, method: str, per_tile: bool) -> Callable[[], Render]:
    """Fit the target; the next step fits the slide."""
    from pathology.stain.fit import fit_reference

    cv2.setNumThreads(1)
    config = StainConfig.model_validate({"method": method, "per_tile": per_tile})
    return partial(fit_slide, fit_reference([job.target], config), job, config, render)


def prepare_learned(job: Job, quality: str) -> Callable[[], Render]:
    """Read the model; the next step fits the slide with both cores."""
    import torch

    from pathology.stain.load import load_model

    cv2.setNumThreads(1)
    config = StainConfig.model_validate({"quality": quality})
    model = load_model(job.model)

    def fit() -> Render:  # the workers are there already: threads of torch would not survive a fork
        torch.set_num_threads(NUM_WORKERS)
        return fit_slide(model, job, config, render_on_one_thread)

    return fit


def fit_slide(
    model: Any, job: Job, config: StainConfig, show: Callable[[Any, Pixels], Pixels]
) -> Render:
    """What renders the slide, from as many of its tiles as the pipeline looks at."""
    rows = np.linspace(0, len(job.tiles_NHW3) - 1, config.num_sample_tiles).astype(np.int64)
    return partial(show, model.for_slide(job.tiles_NHW3[np.unique(rows)], config))


def render(normalizer: Any, tiles_NHW3: Pixels) -> Pixels:
    rendered: Pixels = normalizer.render(tiles_NHW3).tiles
    return rendered


def render_on_one_thread(normalizer: Any, tiles_NHW3: Pixels) -> Pixels:
    """The same, with one thread of torch: a setting of the thread that calls, not of them all."""
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    return render(normalizer, tiles_NHW3)


def variants() -> dict[str, Variant]:
    """By name; what stands before the comma is the contender."""
    found: dict[str, Variant] = {}
    for spread in SPREADS:
        for method in CLASSICAL:
            slide = partial(prepare_classical, method=method, per_tile=False)
            tile = partial(prepare_classical, method=method, per_tile=True)
            found[f"{method}, {spread}"] = Variant(slide, spread, AT_ONCE, is_warm=False)
            found[f"{method} per tile, {spread}"] = Variant(tile, spread)
        for quality in QUALITIES:
            way = partial(prepare_learned, quality=quality)
            found[f"{quality}, {spread}"] = Variant(way, spread, AT_ONCE, is_warm=False)
            found[f"{quality} alone, {spread}"] = Variant(way, spread, AT_ONCE)
    return found


if __name__ == "__main__":
    main(variants())
