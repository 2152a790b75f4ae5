"""Features of tiles by a classifier that adapts, and what it makes of a domain on the way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.adapt.balance import PSEUDO_TILES
from pathology.adapt.config import AdaptConfig
from pathology.adapt.domain_norm import adapt_statistics, encoder_of
from pathology.adapt.network import SOURCE, DomainClassifier
from pathology.models.encode import encode, prepare, to_images
from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pipelines.adapt_inputs import DomainTiles

BLOCK = 256  # tiles that are looked at together
LAYER_BLOCK = 64  # whose maps are normalized together
Numbers = NDArray[np.int64] | slice
ALL = slice(None)


class Looker:
    """Features of tiles, by a classifier's encoder as it is now, or as they were made once.

    is_fast  whether to get the encoder ready for many tiles, which takes a while
    """

    def __init__(
        self, model: DomainClassifier, config: AdaptConfig, *, is_fast: bool = False
    ) -> None:
        self.model, self.size_px, self.is_fast = model, config.tile_px, is_fast
        self.device = str(model.mean_2F.device)
        self._ready: dict[int, Encoder | OnnxEncoder] = {}

    def __call__(
        self, tiles: DomainTiles, domain: int, numbers: Numbers = ALL
    ) -> NDArray[np.float32]:
        """Features (n, F) of some tiles of a domain."""
        if self.model.encoder is None:
            return np.asarray(tiles.read(numbers), np.float32)
        places = np.arange(len(tiles))[numbers]
        look = self._at_maps if tiles.is_maps else self._at_pixels
        found = [
            look(tiles, domain, places[start : start + BLOCK])
            for start in range(0, len(places), BLOCK)
        ]
        return np.concatenate([np.zeros((0, self.model.head.num_features), np.float32), *found])

    def _at_pixels(
        self, tiles: DomainTiles, domain: int, places: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        pixels = np.asarray(tiles.read(places), np.uint8)
        encoder = self._encoder(domain)
        return encode(encoder, pixels, device=self.device, size_px=self.size_px)

    @torch.inference_mode()
    def _at_maps(
        self, tiles: DomainTiles, domain: int, places: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        rows = torch.from_numpy(tiles.maps(places)).to(self.device)
        found: NDArray[np.float32] = self.model.eval().features(rows, domain).cpu().numpy()
        return found

    def _encoder(self, domain: int) -> Encoder | OnnxEncoder:
        encoder = self.model.encoder
        if domain not in self._ready and encoder is not None:
            made = encoder_of(encoder, is_source=domain == SOURCE)
            self._ready[domain] = prepare(made, self.device) if self.is_fast else made
        return self._ready[domain]


def adapt_layers(
    model: DomainClassifier,
    target: DomainTiles,
    numbers: NDArray[np.int64],
    config: AdaptConfig,
) -> None:
    """Estimate the statistics of layers that learn from some tiles of the target, as they are.

    Few tiles lean on the source's statistics, as features do; see pathology.adapt.balance.shrunk.
    """
    if model.encoder is not None:
        blocks = _blocks_of(target, numbers, str(model.mean_2F.device), config.tile_px)
        adapt_statistics(model.encoder, blocks, len(numbers) / (len(numbers) + PSEUDO_TILES))


def _blocks_of(
    tiles: DomainTiles, numbers: NDArray[np.int64], device: str, size_px: int | None
) -> Iterator[Tensor]:
    """Some tiles as an encoder takes them, each block from all over the domain."""
    num_blocks = -(-len(numbers) // LAYER_BLOCK)
    for start in range(num_blocks):
        places = numbers[start::num_blocks]
        if tiles.is_maps:
            yield torch.from_numpy(tiles.maps(places)).to(device)
        else:
            images = to_images(np.asarray(tiles.read(places), np.uint8), device, size_px)
            yield images.contiguous(memory_format=torch.channels_last)
