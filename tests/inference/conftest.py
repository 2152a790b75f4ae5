"""A small classifier, frames with known content, and sources that are real but small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pathology.inference.tile_network import TileNetwork
from pathology.models.card import ModelCard, TileContract, save_classifier
from pathology.models.encoder import Encoder, make_encoder
from pathology.weak.pooling import PooledTiles
from pipelines.features import weights_digest
from tests.conftest import tissue_pixels
from tests.pipelines.small_encoder import SMALLEST, write_weights

EDGE, MPP = 64, 1.0
GRADES = ("benign", "atypical", "malignant")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    weights = write_weights(tmp_path_factory.mktemp("weights") / "w.pt", name=SMALLEST)
    return make_encoder(SMALLEST, weights=weights).eval()


@pytest.fixture(scope="session")
def head(encoder: Encoder) -> PooledTiles:
    torch.manual_seed(1)
    return PooledTiles(encoder.num_features, 3, width=16, dropout=0, pooling="mean").eval()


@pytest.fixture(scope="session")
def network(encoder: Encoder, head: PooledTiles) -> TileNetwork:
    return TileNetwork(encoder, head, "dman", size_px=EDGE, threads=1)


@pytest.fixture(scope="session")
def model_path(
    encoder: Encoder, head: PooledTiles, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model's file that holds its encoder."""
    path = tmp_path_factory.mktemp("model") / "scope.pt"
    tiles = TileContract(
        size_px=EDGE, mpp=MPP, encoder=encoder.name, weights=weights_digest(encoder),
        num_features=encoder.num_features,
    )  # fmt: skip
    card = ModelCard(
        grades=GRADES, tiles=tiles, method="dman", settings={"width": 16}, task="adapt",
        has_encoder=True,
    )  # fmt: skip
    weights = {f"bag.{name}": value for name, value in head.state_dict().items()}
    weights |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    save_classifier(path, card, weights)
    return path


def scene(width: int = 640, height: int = 480, seed: int = 0) -> NDArray[np.uint8]:
    """Tissue everywhere: the middle of a larger ellipse of it."""
    whole = tissue_pixels(2 * width, 2 * height, seed)
    return np.ascontiguousarray(
        whole[height // 2 : height // 2 + height, width // 2 : width // 2 + width]
    )
