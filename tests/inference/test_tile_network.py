"""One graph of encoder and head gives what torch gives."""

import numpy as np
import pytest
import torch

from pathology.core.errors import ConfigError
from pathology.inference.tile_network import TileNetwork
from pathology.models.encode import to_images
from pathology.models.encoder import Encoder
from pathology.weak.attention import AttentionBag
from pathology.weak.pooling import PooledTiles
from tests.inference.conftest import EDGE, scene


def tiles(num: int) -> np.ndarray:
    return np.stack([scene(EDGE, EDGE, seed=i) for i in range(num)])


@pytest.mark.parametrize("edge_px", [None, 32])
@pytest.mark.parametrize("num", [1, 5])
def test_onnx_and_torch_agree(
    encoder: Encoder, head: PooledTiles, num: int, edge_px: int | None
) -> None:
    made = TileNetwork(encoder, head, "dman", size_px=EDGE, edge_px=edge_px, threads=1)
    assert made.engine == "onnxruntime"
    found = made(tiles(num))
    with torch.inference_mode():
        features = encoder(to_images(tiles(num), size_px=edge_px))
        wanted = head(features[None]).tile_BNC[0].softmax(dim=1)
    assert np.abs(found.features_NF - features.numpy()).max() < 1e-4
    assert np.abs(found.probability_NC - wanted.numpy()).max() < 1e-4
    assert found.probability_NC.shape == (num, 3) and found.probability_NC.std() > 1e-3


def test_other_heads_and_ordinal_ones(encoder: Encoder) -> None:
    torch.manual_seed(0)
    num = encoder.num_features
    for bag in (
        AttentionBag(num, 3, width=8, dropout=0).eval(),
        PooledTiles(num, 3, width=0, dropout=0, is_ordinal=True).eval(),
    ):
        made = TileNetwork(encoder, bag, "abmil", size_px=EDGE, threads=1)
        assert made.engine == "onnxruntime"
        given = tiles(3)
        wanted = made.by_torch(to_images(given))
        assert np.abs(made(given).probability_NC - wanted.probability_NC).max() < 1e-4


def test_what_grades_tiles_by_their_neighbors_is_refused(
    encoder: Encoder, head: PooledTiles
) -> None:
    with pytest.raises(ConfigError, match="which a camera never shows"):
        TileNetwork(encoder, head, "transmil", size_px=EDGE)
