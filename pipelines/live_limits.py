"""Learn from a model's own pictures how theirs look, so that others are told apart at the scope."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pathology.core.errors import ArtifactError
from pathology.inference.taught_limits import TaughtLimits, fit_limits, limits_path
from pathology.inference.tile_checks import check_tiles, thumbnail_of
from pathology.models.encode import encode
from pathology.slides.reader import Pixels
from pathology.stain.config import StainConfig
from pathology.stain.contract import require_same_stain
from pipelines.classifier import load_for_use
from pipelines.given_mpp import require_mpp
from pipelines.input_kinds import look_at
from pipelines.live_model import live_stain_of, require_tiles
from pipelines.tile_samples import Sampling, iter_samples

MOST_TILES = 4000  # more make limits no better
TILES_PER_SLIDE = 64


def write_limits(
    model: Path,
    taught: Path,
    *,
    assume_mpp: float | None = None,
    weights: Path | None = None,
    stain: Path | None = None,
    on_slide: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> TaughtLimits:
    """Write MODEL.limits.npz from pictures (or slides, or a run) that the model was taught on.

    assume_mpp  of pictures that state none
    stain       the model that its tiles were normalized by, if they were
    Tiles without tissue do not count. Raises ArtifactError where too few are left, ConfigError for
    microns per pixel that no microscope has.
    """
    require_mpp(assume_mpp, "--assume-mpp")
    classifier = load_for_use(model, "cpu", weights)
    size_px, mpp = require_tiles(model, classifier.card)
    live = live_stain_of(model, classifier.card, stain)
    encoder = classifier.model.encoder
    tiles, pictures, features = [], [], []
    for number, sample in enumerate(
        iter_samples(look_at(taught), Sampling(size_px, TILES_PER_SLIDE, mpp, assume_mpp))
    ):
        on_slide()
        if sample.problem:
            say(f"{sample.slide_id}: {sample.problem}")
            continue
        require_same_stain({}, sample.stain)
        kept = with_tissue(sample.tiles_NHW3, mpp)
        if not len(kept):
            continue
        seen = kept
        if live is not None:
            seen = live.model.for_slide(kept, StainConfig()).render(kept).tiles
        tiles.append(kept)
        pictures += [number] * len(kept)
        features.append(encode(encoder, seen, size_px=classifier.card.tiles.encoder_px))  # type: ignore[arg-type]
        if len(pictures) >= MOST_TILES:
            break
    if live is not None:
        live.close()
    if not tiles:
        raise ArtifactError(f"{taught}: none of its pictures shows tissue")
    limits = fit_limits(
        classifier.fingerprint, np.concatenate(tiles), np.concatenate(features),
        np.array(pictures, np.int64), mpp,
    )  # fmt: skip
    limits.save(limits_path(model))
    return limits


def with_tissue(tiles_NHW3: Pixels, mpp: float) -> Pixels:
    """Those tiles that are more than glass and ink, sharp or not."""
    corner = np.zeros((1, 2), np.int64)
    states = [
        check_tiles(t, thumbnail_of(t, mpp), corner, len(t), mpp, None)[0] for t in tiles_NHW3
    ]
    return tiles_NHW3[[state in ("waiting", "blurred") for state in states]]
