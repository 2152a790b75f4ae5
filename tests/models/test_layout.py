"""The order of pixels and channels in memory changes nothing but the time."""

from copy import deepcopy

import pytest
import torch

from pathology.models.encoder import make_encoder
from pathology.models.layout import LAYOUTS, choose_layout, seconds_in, take_layout


def test_features_are_the_same_in_every_layout() -> None:
    encoder = make_encoder("test_efficientnet", is_pretrained=False).eval()
    tiles, found = torch.rand(2, 3, 64, 64), []
    for layout in LAYOUTS:
        take_layout(encoder, layout)
        assert encoder.layout is layout
        found.append(encoder(tiles.contiguous(memory_format=layout)))
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("learns", [False, True])
def test_measuring_leaves_no_trace(learns: bool) -> None:
    encoder = make_encoder("test_resnet", is_pretrained=False).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(0)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert seconds_in(LAYOUTS[0], encoder, 32, learns, False, 2) > 0
    assert torch.equal(torch.rand(1), drawn), "it used the random numbers of the training"
    assert encoder.training
    assert all(p.grad is None for p in encoder.parameters())
    assert all(torch.equal(value, before[n]) for n, value in encoder.state_dict().items())


def test_on_a_cpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder("test_resnet", is_pretrained=False)
    monkeypatch.setattr("pathology.models.layout.seconds_in", pytest.fail)
    choose_layout(encoder, 32, learns=True)
    assert encoder.layout is None
    weights = next(p for p in encoder.parameters() if p.ndim == 4 and p.shape[2] > 1)
    assert weights.is_contiguous(memory_format=torch.channels_last)


def test_what_was_chosen_goes_with_copies() -> None:
    encoder = make_encoder("test_resnet", is_pretrained=False)
    take_layout(encoder, torch.contiguous_format)
    copied = deepcopy(encoder)
    choose_layout(copied, 32, learns=False)
    weights = next(p for p in copied.parameters() if p.ndim == 4 and p.shape[2] > 1)
    assert copied.layout is torch.contiguous_format and weights.is_contiguous()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_keeps_the_faster_one() -> None:
    encoder = make_encoder("test_efficientnet", is_pretrained=False).cuda()
    choose_layout(encoder, 64, learns=True)
    assert encoder.layout in LAYOUTS
    assert torch.isfinite(encoder(torch.rand(2, 3, 64, 64).cuda())).all()
