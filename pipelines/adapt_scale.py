"""`--target-mpp auto`: microns per pixel of pictures that state none, by their looks."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from pathology.adapt.config import AdaptConfig
from pathology.adapt.scale import guess_scale
from pathology.core.errors import ConfigError
from pathology.models.encode import encode, prepare
from pathology.models.encoder import Encoder
from pathology.slides.reader import Pixels
from pipelines.adapt_features import FeatureInput, Given
from pipelines.adapt_inputs import Say
from pipelines.input_kinds import TileInput
from pipelines.tile_samples import Sampling, iter_samples

NUM_SOURCE, NUM_TARGET = 80, 40  # tiles that are looked at
GIVE = "Give --target-mpp a number"


def target_mpp_of(
    given: float | str | None,
    source: Given,
    target: Given,
    config: AdaptConfig,
    encoder: Encoder | None,
    device: str,
    source_mpp: float | None,
    say: Say,
) -> float | None:
    """What was given, or for "auto" a guess; None where all pictures state theirs.

    source_mpp  of the source's tiles
    Raises ConfigError where it cannot be told.
    """
    if not isinstance(given, str):
        return given
    if isinstance(target, FeatureInput):
        return None
    if isinstance(source, FeatureInput) or encoder is None or source_mpp is None:
        raise ConfigError(
            f"--target-mpp auto: {source.path} has no tiles of a known resolution to compare with. "
            f"{GIVE}"
        )
    edge = config.size_px // 2
    pictures = _tiles(target, Sampling(4 * edge, 1), NUM_TARGET, config.seed, is_unknown=True)
    if not pictures:
        return None
    tiles = _tiles(source, Sampling(2 * edge, 1, source_mpp), NUM_SOURCE, config.seed)
    ready = prepare(encoder, device)

    def look(windows: Pixels) -> NDArray[np.float32]:
        return encode(ready, windows, device=device, size_px=config.tile_px)

    found = guess_scale(tiles, pictures, edge, look, config.seed)
    if found.problem:
        raise ConfigError(f"--target-mpp auto: {target.path}: {found.problem}. {GIVE}")
    mpp = float(f"{source_mpp * found.factor:.3g}")
    say(
        f"the target's pixels look like {mpp:g} um, a guess from {len(pictures)} pictures. For "
        "another organ or laboratory such guesses were off by up to 1.7. If you know better, give "
        "--target-mpp"
    )
    return mpp


def _tiles(
    given: TileInput, sampling: Sampling, num: int, seed: int, *, is_unknown: bool = False
) -> list[Pixels]:
    """Tiles of some slides or pictures; is_unknown: only of those that state no resolution."""
    each = ceil(num / max(1, given.num_members))
    sampling = Sampling(sampling.size_px, each, sampling.mpp)
    found: list[Pixels] = []
    for sample in iter_samples(given, sampling, max_slides=num, seed=seed):
        if not (is_unknown and sample.mpp):
            found.extend(sample.tiles_NHW3)
    return found[:num]
