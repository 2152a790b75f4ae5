"""Normalization that keeps its statistics is part of a convolution, and learns as it did."""

from copy import deepcopy

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from pathology.models.encoder import Encoder, make_encoder
from pathology.models.folded_norm import fold_norms
from pathology.models.onnx_encoder import OnnxEncoder


def fresh(name: str) -> Encoder:
    """An encoder with statistics and factors that are none of a fresh network."""
    torch.manual_seed(0)
    encoder = make_encoder(name, is_pretrained=False)
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            with torch.no_grad():
                norm.get_buffer("running_mean").normal_(0, 0.1)
                norm.get_buffer("running_var").uniform_(0.5, 1.5)
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.1)
    return encoder


def gradients(encoder: nn.Module, tiles: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad(set_to_none=True)
    features: Tensor = encoder(tiles)
    features.sin().sum().backward()
    found = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return found | {"features": features.detach()}


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        size = float(other[name].abs().max()) + 1e-6
        assert float((value - other[name]).abs().max()) < 1e-6 * size, name


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "tf_efficientnet_lite0"])
def test_features_and_gradients_are_those_of_separate_layers(name: str) -> None:
    encoder, tiles = fresh(name).double(), torch.rand(3, 3, 64, 64, dtype=torch.float64)
    plain = deepcopy(encoder).eval()
    encoder.keep_statistics()
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all("forward" in vars(norm) for norm in norms), "all of these follow a convolution"
    expected = gradients(plain, tiles)
    alike(gradients(encoder.train(), tiles), expected)
    alike(gradients(deepcopy(encoder), tiles), expected)
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        found = OnnxEncoder(encoder.float())(tiles.float())
    assert torch.allclose(found.double(), expected["features"], atol=1e-2, rtol=1e-2)


def test_a_copy_learns_for_itself() -> None:
    encoder, tiles = fresh("test_resnet"), torch.rand(2, 3, 64, 64)
    encoder.keep_statistics()
    twin = deepcopy(encoder)
    before = encoder(tiles).detach()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    assert torch.equal(encoder(tiles), before)
    assert not torch.allclose(twin(tiles), before)


def test_layers_in_training_are_as_they_were() -> None:
    encoder, tiles = fresh("test_efficientnet").double(), torch.rand(4, 3, 64, 64).double()
    plain = deepcopy(encoder).train()
    assert fold_norms(encoder.network, BatchNormAct2d)
    alike(gradients(encoder.train(), tiles), gradients(plain, tiles))
    for one, other in zip(encoder.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-5), "statistics move alike"


class Twice(nn.Module):
    """One convolution, normalized by two layers, then once more through both of one pair."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.other = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.again, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        maps = self.one(maps) + self.other(maps)
        for _ in range(2):
            maps = self.norm(self.again(maps))
        return maps


class Untold(nn.Module):
    """Steps that depend on what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)) if images.sum() > 0 else images


@pytest.mark.parametrize(
    "network",
    [
        Twice(), Untold(), nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False)),
        nn.Sequential(nn.Conv2d(3, 3, 1).requires_grad_(False), nn.BatchNorm2d(3)),
    ],
)  # fmt: skip
def test_what_is_no_pair_stays_apart(network: nn.Module) -> None:
    assert fold_norms(network, BatchNormAct2d) == 0
