"""Reflected margins with channels last: torch's own, values and gradients."""

import pytest
import torch
from torch.nn import functional

from pathology.stain.layers import conv
from pathology.stain.reflected import ReflectedConv, reflected


@pytest.mark.parametrize("margin", [1, 2, 3])
@pytest.mark.parametrize("is_last", [True, False])
def test_margins_and_their_gradients_are_those_of_torch(margin: int, is_last: bool) -> None:
    images = torch.rand(2, 5, 7, 9, dtype=torch.float64)
    if is_last:
        images = images.contiguous(memory_format=torch.channels_last)
    one, other = images.clone().requires_grad_(), images.clone().requires_grad_()
    found = reflected(one, margin)
    wanted = functional.pad(other, [margin] * 4, mode="reflect")
    assert torch.equal(found, wanted)
    assert found.is_contiguous(memory_format=torch.channels_last)
    weights = torch.rand_like(wanted)
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    assert torch.allclose(one.grad, other.grad, atol=1e-12)  # type: ignore[arg-type]


def test_the_smallest_image_has_a_pixel_more_than_its_margin() -> None:
    images = torch.rand(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: reflected(x, 1), (images,))


def test_a_gradient_that_others_use_is_not_changed() -> None:
    images = torch.rand(1, 1, 4, 4, requires_grad=True)
    gradient = torch.ones(1, 1, 6, 6)
    torch.autograd.backward([reflected(images, 1)], [gradient])
    assert torch.equal(gradient, torch.ones(1, 1, 6, 6))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2)])
def test_the_convolution_is_the_same_either_way(kernel: int, stride: int) -> None:
    layer = conv(3, 4, kernel, stride)
    assert isinstance(layer, ReflectedConv)
    images = torch.rand(2, 3, 8, 8)
    padded = reflected(images, layer.margin)
    found = functional.conv2d(padded, layer.weight, layer.bias, layer.stride)
    assert torch.allclose(layer(images), found, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_a_cpu_gives() -> None:
    layer, images = conv(3, 4, 3), torch.rand(2, 3, 16, 16)
    assert torch.allclose(layer(images), layer.cuda()(images.cuda()).cpu(), atol=1e-3)
