"""Encoders through ONNX Runtime: features as of torch, whatever the block; torch where it fails."""

import pytest
import torch

from pathology.models.encode import encode, prepare
from pathology.models.encoder import Encoder, make_encoder
from pathology.models.onnx_encoder import OnnxEncoder

COLORS = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.mark.parametrize(
    ("name", "edges"), [("resnet10t", (64, 96)), ("vit_tiny_patch16_224", (224, 100))]
)
def test_features_are_those_of_torch(name: str, edges: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = make_encoder(name, is_pretrained=False).eval()
    fast = OnnxEncoder(encoder)
    with torch.inference_mode():
        for edge in edges:
            tiles = torch.rand(3, 3, edge, edge)
            wanted, found = encoder(tiles), fast(tiles)
            assert fast.engine == "onnxruntime"
            assert found.shape == wanted.shape
            assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
            assert torch.equal(fast(tiles[1:2]), found[1:2])  # in any company


def test_what_cannot_be_translated_is_run_by_torch() -> None:
    class Odd(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(images[:, :, 0, :3])

    made = OnnxEncoder(Encoder("odd", Odd(), COLORS))
    tiles = torch.rand(4, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(made(tiles), made.encoder(tiles))
    assert made.engine == "torch"


def test_only_a_cpu_in_full_precision_takes_this_way() -> None:
    encoder = make_encoder("resnet10t", is_pretrained=False)
    assert isinstance(prepare(encoder, "cpu", is_bf16=True), Encoder)
    fast = prepare(encoder, "cpu")
    assert isinstance(fast, OnnxEncoder)
    tiles = (torch.rand(20, 64, 64, 3) * 255).to(torch.uint8).numpy()
    whole = encode(fast, tiles, block=16)
    assert whole.shape == (20, 512)
    assert (encode(fast, tiles, block=7) == whole).all()
