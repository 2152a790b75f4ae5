"""How large the pixels of unlabelled pictures are, by the looks of tiles whose pixels are known.

Tiles of the source, made larger and smaller, teach a line from an encoder's features to the
logarithm of their scale. The pictures are then made larger and smaller until they look as large as
the source: where the line is best, and where what it gets wrong at its ends does not matter.
N pictures or tiles, F features, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
TAUGHT = np.geomspace(0.25, 2.0, 13)  # pixel size of the source's tiles over what it was
TRIED = np.geomspace(0.25, 4.0, 9)  # edge of the target's pictures over what it was
LEAST_PICTURES = 8
LEAST_SLOPE = 0.35  # of the looks on the true scale, 1 where they follow it; below it is a guess
PENALTIES = np.geomspace(1e2, 1e5, 7)


class ScaleGuess(NamedTuple):
    """Pixel size of the target over the source's; slope of the looks there, -1 at best.

    problem  why there is none, or ""
    """

    factor: float
    slope: float
    problem: str = ""


def guess_scale(
    source: Sequence[Pixels],
    target: Sequence[Pixels],
    edge: int,
    look: Callable[[Pixels], NDArray[np.float32]],
    seed: int = 0,
) -> ScaleGuess:
    """The target's scale beside the source's, from tiles (H, W, 3) of either.

    source  of twice the edge at least; target  of four times the edge
    edge    of the windows that are looked at
    look    windows (n, edge, edge, 3) to features (n, F)
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(target) < LEAST_PICTURES:
        return ScaleGuess(1.0, 0.0, f"{len(target)} pictures are too few to tell")
    random = np.random.default_rng([seed, 11])
    windows = [_seen(random, tile, 1 / size, edge) for tile in source for size in TAUGHT]
    log_size = np.tile(np.log(TAUGHT), len(source))
    line = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(
        look(np.stack(windows)), log_size
    )
    found = []
    for enlarged in TRIED:
        shown = [flattened(window(random, picture, enlarged, edge)) for picture in target]
        found.append(float(np.median(line.predict(look(np.stack(shown))))))
    return where_alike(np.log(TRIED), np.array(found))


def where_alike(log_enlarged_K: Floats, log_size_K: Floats) -> ScaleGuess:
    """Where pictures that are enlarged more and more look as large as the source.

    log_size_K  what their pixels' size seems to be, over the source's
    """
    from sklearn.isotonic import IsotonicRegression

    falling_K = IsotonicRegression(increasing=False).fit_transform(log_enlarged_K, log_size_K)
    slope = float(np.polyfit(log_enlarged_K, falling_K, 1)[0])
    if falling_K[0] <= 0 or falling_K[-1] >= 0:
        end = "finer" if falling_K[0] <= 0 else "coarser"
        return ScaleGuess(1.0, slope, f"they look more than four times {end} than the source")
    if slope > -LEAST_SLOPE:
        return ScaleGuess(1.0, slope, "made larger or smaller, they look much the same")
    at = float(np.interp(0.0, falling_K[::-1], log_enlarged_K[::-1]))
    return ScaleGuess(float(np.exp(at)), slope)


def window(random: np.random.Generator, tile_HW3: Pixels, enlarged: float, edge: int) -> Pixels:
    """A random square of a tile that is made larger or smaller."""
    size = [max(edge, round(length * enlarged)) for length in tile_HW3.shape[1::-1]]
    way = cv2.INTER_AREA if enlarged < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(tile_HW3, size, interpolation=way)
    y, x = (int(random.integers(length - edge + 1)) for length in scaled.shape[:2])
    return np.asarray(scaled[y : y + edge, x : x + edge], np.uint8)


def flattened(window_HW3: Pixels) -> Pixels:
    """Grey, from black to white: stain and light say nothing of scale."""
    gray = window_HW3.mean(axis=2)
    low, high = np.percentile(gray, [1, 99])
    even = np.clip((gray - low) / max(high - low, 10.0), 0, 1) * 255
    return np.repeat(even.astype(np.uint8)[..., None], 3, axis=2)


def _seen(random: np.random.Generator, tile_HW3: Pixels, enlarged: float, edge: int) -> Pixels:
    """A window as another microscope may show it: sharpness and noise do not tell the scale."""
    shown = window(random, tile_HW3, enlarged, edge).astype(np.float32)
    blur_px = random.uniform(0.0, 1.3)
    if blur_px > 0.3:
        shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), blur_px), np.float32)
    lit = 255 * np.clip(shown / 255, 1e-3, 1) ** random.uniform(0.6, 1.6)
    tinted = lit * random.uniform(0.75, 1.15) * random.uniform(0.85, 1.15, 3)
    noisy = tinted + random.normal(0, random.uniform(0, 6), tinted.shape)
    return flattened(np.clip(noisy, 0, 255).astype(np.uint8))
