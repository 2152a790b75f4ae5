"""The parts that the stain networks are made of.

B batch, C channels, H, W height and width. Images are float RGB from -1 (black) to 1 (white).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pathology.stain.cycle_config import Norm
from pathology.stain.reflected import ReflectedConv
from pathology.stain.style_vector import NUM_STYLE


class Sharpness(nn.Module):
    """Blurs or sharpens all colors alike by one number, as scanners differ in sharpness.

    The step [v/2, 1 - v, v/2] along rows and columns, radius_px times over: for v > 0 a Gaussian
    blur of variance radius_px * v, for v < 0 a sharpening. It starts at v = 0, the identity. With
    every weight of the kernel free, training found spiked ones whose images were noisier. v moves
    GAIN times as fast as the other weights, having farther to go than they have.
    """

    GAIN, MOST = 5.0, 0.5

    def __init__(self, radius_px: int) -> None:
        super().__init__()
        self.radius_px = radius_px
        self.change = nn.Parameter(torch.zeros(()))

    def kernel(self) -> Tensor:
        """The kernel (2 * radius_px + 1,) of one direction; it sums to 1."""
        v = (self.GAIN * self.change).clamp(-self.MOST, self.MOST)
        step = torch.stack([v / 2, 1 - v, v / 2])[None, None]
        kernel = torch.ones_like(v)[None, None, None]
        for _ in range(self.radius_px):
            kernel = functional.conv1d(functional.pad(kernel, (2, 2)), step)
        return kernel[0, 0]

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Images of the same shape."""
        radius = self.radius_px
        with torch.autocast(images_B3HW.device.type, enabled=False):  # colors keep their digits
            row = self.kernel().expand(3, 1, 1, -1)
            padded = functional.pad(images_B3HW.float(), [radius] * 4, mode="reflect")
            across = functional.conv2d(padded, row, groups=3)
            sharp: Tensor = functional.conv2d(across, row.transpose(2, 3), groups=3)
        return sharp


class Film(nn.Module):
    """A scale and shift of each of C channels by a style: Perez et al., AAAI 2018."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(NUM_STYLE, channels), nn.ReLU(), nn.Linear(channels, 2 * channels)
        )

    def forward(self, features_BCHW: Tensor, style_BS: Tensor | None) -> Tensor:
        """Features of the same shape."""
        scale, shift = self.layers(style_BS)[:, :, None, None].chunk(2, dim=1)
        changed: Tensor = features_BCHW * (1 + scale) + shift
        return changed


class StyleBlock(nn.Module):
    """A residual block of C channels that starts as the identity, shifted by a style or not.

    Without norm it is SkipInit (De and Smith, NeurIPS 2020): the branch has a gain that starts at
    zero, and no statistics are needed.
    """

    def __init__(self, channels: int, kernel: int, norm: Norm, *, is_film: bool) -> None:
        super().__init__()
        self.first, self.first_norm = conv(channels, channels, kernel), norm_of(norm, channels)
        self.second, self.second_norm = conv(channels, channels, kernel), norm_of(norm, channels)
        self.gain = nn.Parameter(torch.tensor(0.0 if norm == "none" else 1.0))
        self.film = Film(channels) if is_film else None

    def forward(self, features_BCHW: Tensor, style_BS: Tensor | None = None) -> Tensor:
        """Features of the same shape."""
        branch = self.first_norm(self.first(features_BCHW))
        if self.film is not None:
            branch = self.film(branch, style_BS)
        branch = self.second_norm(self.second(functional.relu(branch)))
        changed: Tensor = features_BCHW + self.gain * branch
        return changed


def conv(num_in: int, num_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size, or halves it, with reflected borders."""
    padding = (kernel - stride) // 2 if stride > 1 else kernel // 2
    layer: nn.Conv2d = (
        ReflectedConv(num_in, num_out, kernel, stride, padding)
        if padding
        else nn.Conv2d(num_in, num_out, kernel, stride)
    )
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def norm_of(kind: Norm, channels: int) -> nn.Module:
    """A normalization layer of that kind; none passes everything on."""
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    return nn.BatchNorm2d(channels) if kind == "running" else nn.Identity()
