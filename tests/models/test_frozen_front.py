"""Encoders that learn in part: cut where the learning begins, and the same as uncut."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from pathology.models.encoder import Encoder, make_encoder
from pathology.models.frozen_front import FrozenFront, halves_of

COLORS = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def learner(name: str, num_blocks: int) -> Encoder:
    torch.manual_seed(0)
    encoder = make_encoder(name, is_pretrained=False)
    for module in encoder.modules():  # statistics that are none of a fresh network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]
    encoder.learn_last(num_blocks)
    return encoder.train()


def gradients(encoder: Encoder, tiles: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Features of a step, and what it asks of the weights."""
    encoder.zero_grad(set_to_none=True)
    features = encoder(tiles)
    features.sin().sum().backward()
    learns = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
    return features.detach(), learns


@pytest.mark.parametrize(
    ("name", "edge"),
    [("test_resnet", 64), ("vit_tiny_patch16_224", 224), ("test_efficientnet", 64)],
)
def test_features_and_gradients_are_those_of_the_whole(name: str, edge: int) -> None:
    encoder = learner(name, 1)
    whole = deepcopy(encoder)
    whole.frozen = ()  # what says that a front may be taken; its layers stay in use
    for module in encoder.frozen:
        assert not module.training
    tiles = torch.rand(20, 3, edge, edge)
    found, asked = gradients(encoder, tiles)
    again, plain = gradients(whole, tiles)
    assert all(encoder.front._sessions.values()), "nothing was cut off"
    assert torch.allclose(found, again, atol=1e-4, rtol=1e-3)
    assert asked.keys() == plain.keys()
    whole_length = float(torch.stack([gradient.norm() for gradient in plain.values()]).norm())
    for one in asked:  # of the whole gradient: single numbers may be rounding alone
        assert float((asked[one] - plain[one]).norm()) < 1e-3 * whole_length, one
    for module in encoder.frozen:
        assert not module.training, "translating woke it up"


def test_only_training_on_a_cpu_in_full_precision_takes_it() -> None:
    encoder, tiles = learner("test_resnet", 1), torch.rand(2, 3, 64, 64)
    encoder.eval()(tiles)
    with torch.autocast("cpu", torch.bfloat16):
        encoder.train()(tiles)
    assert not encoder.front._sessions
    every = make_encoder("test_resnet", is_pretrained=False)
    every.learn_last(None)
    every.train()(tiles)
    assert not every.front._sessions


def test_other_weights_are_translated_anew() -> None:
    encoder, tiles = learner("test_resnet", 1), torch.rand(2, 3, 64, 64)
    before = encoder(tiles)
    other = learner("test_resnet", 1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    nn.Sequential(encoder).load_state_dict(nn.Sequential(other).state_dict())
    after = encoder(tiles)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(after, other(tiles), atol=1e-4)


def test_a_copy_learns_for_itself() -> None:
    encoder, tiles = learner("test_resnet", 1), torch.rand(4, 3, 64, 64)
    before = encoder(tiles).detach()
    other = deepcopy(encoder)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    assert not torch.allclose(other(tiles), before, atol=1e-3)
    assert torch.allclose(encoder(tiles), before, atol=1e-5)


class Forks(nn.Module):
    """The input goes around the first layer into the last: no one cut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)
        self.first.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.first(images) + images.flip(3)).mean(dim=(2, 3)) + images.mean()


class Unreadable(Forks):
    def forward(self, images: Tensor) -> Tensor:
        if images.sum() > 0:
            images = images * 2
        return self.last(self.first(images)).mean(dim=(2, 3))


@pytest.mark.parametrize("network", [Forks(), Unreadable()], ids=["forks", "unreadable"])
def test_what_cannot_be_cut_is_run_whole(network: nn.Module) -> None:
    learns = {name for name, p in network.named_parameters() if p.requires_grad}
    assert halves_of(network, learns) is None
    encoder = Encoder("own", network, COLORS)
    encoder.front = FrozenFront(learns)
    encoder.frozen = (network.first,)  # type: ignore[assignment]
    tiles = torch.rand(3, 3, 16, 16)
    assert torch.equal(encoder.train()(tiles), encoder.eval()(tiles))


def test_where_nothing_learns_the_front_is_all() -> None:
    encoder, tiles = learner("test_resnet", 0), torch.rand(3, 3, 64, 64)
    found = encoder(tiles)
    assert encoder.front._sessions
    assert torch.allclose(found, encoder.eval()(tiles), atol=1e-4)
    assert isinstance(deepcopy(encoder.front), FrozenFront)
