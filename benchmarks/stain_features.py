"""Frozen ImageNet features of tiles, and strong stain augmentation, for the benchmarks."""

from functools import cache
from typing import Any

import numpy as np

EDGE_PX = 128
STAIN_JITTER, LIGHT_JITTER, MIX_JITTER = 0.35, 0.08, 0.08


@cache
def encoder() -> Any:
    """EfficientNet-lite0 without its head, ready for use."""
    from pathology.models.encode import prepare
    from pathology.models.encoder import OFFLINE, make_encoder

    return prepare(make_encoder(OFFLINE), "cpu")


def extract(tiles_NHW3: np.ndarray) -> np.ndarray:
    """Features (N, 1280) of tiles (N, H, W, 3), scaled to 128 px to save time."""
    from pathology.models.encode import encode

    return encode(encoder(), tiles_NHW3, size_px=EDGE_PX)


def augmented(tiles_NHW3: np.ndarray, seed: int) -> np.ndarray:
    """Tiles as other stains and scanners might show them: optical density mixed, scaled, tinted."""
    random = np.random.default_rng(seed)
    changed = np.empty_like(tiles_NHW3)
    for place, tile in zip(changed, tiles_NHW3, strict=True):
        od = -np.log(np.maximum(tile, 1) / np.float32(255))
        mix = np.diag(np.exp(random.normal(0, STAIN_JITTER, 3))) @ (
            np.eye(3) + random.normal(0, MIX_JITTER, (3, 3))
        )
        tint = 1 - np.abs(random.normal(0, LIGHT_JITTER, 3))
        light = 255 * np.exp(-od @ mix.astype(np.float32)) * tint
        turned = np.rot90(light, random.integers(4))
        place[:] = np.clip(turned, 0, 255)
    return changed
