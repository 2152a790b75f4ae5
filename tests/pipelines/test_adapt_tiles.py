"""Where tiles go while a domain is read: blocks for an encoder, and one file that is mapped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.models.encode import encode
from pathology.models.encoder import Encoder
from pipelines.adapt_tiles import BLOCK, FeatureSink, FileSink

COLORS = ((0.5,) * 3, (0.5,) * 3)


class Counting(torch.nn.Module):
    """Means of the channels; remembers how many tiles came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        return images.mean(dim=(2, 3))


def blocks(*counts: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(256, size=(num, 8, 8, 3), dtype=np.uint8) for num in counts]


@pytest.mark.parametrize("counts", [(1,) * 40, (3, BLOCK, 2), (600, 1), (BLOCK,)])
def test_features_are_in_order_and_made_in_full_blocks(counts: tuple[int, ...]) -> None:
    network = Counting()
    encoder = Encoder("means", network, COLORS).eval()
    network.seen.clear()
    sink, tiles = FeatureSink(encoder, "cpu"), blocks(*counts)
    for block in tiles:
        sink.add(block)
    found = sink.values()
    assert set(network.seen[:-1]) <= {16}  # a CPU's block
    assert np.allclose(found, encode(encoder, np.concatenate(tiles)), atol=1e-6)


def test_pixels_lie_in_one_file(tmp_path: Path) -> None:
    tiles = blocks(3, 1, 12)
    old = _written(tmp_path / "run" / "t.npy", tiles[:1])
    found = _written(tmp_path / "run" / "t.npy", tiles)
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, np.concatenate(tiles))
    assert np.array_equal(np.load(tmp_path / "run" / "t.npy"), found)
    assert np.array_equal(old, tiles[0])  # still there for whom it was mapped
    sink = FileSink(tmp_path / "other.npy")
    sink.add(tiles[0])
    with pytest.raises(ValueError, match=r"\(8, 4, 3\) among others of \(8, 8, 3\)"):
        sink.add(tiles[1][:, :, :4])


def _written(path: Path, tiles: list[np.ndarray]) -> np.ndarray:
    sink = FileSink(path)
    for block in tiles:
        sink.add(block)
    return sink.values()
