"""The networks of the stain CycleGAN: a generator that may be told a style, and a discriminator.

B batch, C channels, H, W height and width. Images are float RGB from -1 (black) to 1 (white).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pathology.stain.cycle_config import Condition, DiscriminatorConfig, GeneratorConfig, Norm
from pathology.stain.losses import od_luminance

NUM_STYLE = 6  # the stain matrix (2, 3), row by row
STYLE_MEAN, STYLE_SD = (0.65, 0.70, 0.29, 0.07, 0.99, 0.11), 0.2  # about what laboratories have


class StyleGenerator(nn.Module):
    """Renders an image in another style; towards many styles it is told which.

    Zhou et al., MICCAI 2019: the way back of a many-to-one CycleGAN is given the stain matrix of
    the original image. condition "planes" gives it as six constant channels beside the image,
    "film" as a scale and shift of the first features and of every block (Perez et al., AAAI 2018),
    "none" not at all.

    is_grey  it sees its images in grey, as one intermediate domain of all sources
    """

    def __init__(
        self, config: GeneratorConfig, condition: Condition = "none", *, is_grey: bool = False
    ) -> None:
        super().__init__()
        self.config, self.condition, self.is_grey = config, condition, is_grey
        num_in = 3 + (NUM_STYLE if condition == "planes" else 0)
        widths = [config.width * 2**i for i in range(config.num_downsamples + 1)]
        is_film = condition == "film"
        self.sharpness = Sharpness(config.sharpness_px) if config.sharpness_px else nn.Identity()
        self.stem = _conv(num_in, widths[0], 3)
        self.stem_film = Film(widths[0]) if is_film else None
        self.down = nn.ModuleList(
            nn.Sequential(_conv(low, high, 4, stride=2), _norm(config.norm, high))
            for low, high in pairwise(widths)
        )
        self.blocks = nn.ModuleList(
            StyleBlock(widths[-1], config.block_px, config.norm, is_film=is_film)
            for _ in range(config.num_blocks)
        )
        self.up = nn.ModuleList(
            nn.Sequential(_conv(high, low, 3), _norm(config.norm, low))
            for low, high in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.out = _conv(widths[0], 3, 3)
        if config.is_residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, images_B3HW: Tensor, style_B6: Tensor | None = None) -> Tensor:
        """The images (B, 3, H, W) in the new style; H and W a multiple of 2**num_downsamples.

        style_B6  required where the generator has a condition; must be None where it has none
        """
        if (style_B6 is None) != (self.condition == "none"):
            raise ValueError(
                f"a generator with condition {self.condition!r} and style {style_B6!r}"
            )
        images_B3HW = self.sharpness(to_grey(images_B3HW) if self.is_grey else images_B3HW)
        features = images_B3HW
        if style_B6 is not None:
            style_B6 = (style_B6 - style_B6.new_tensor(STYLE_MEAN)) / STYLE_SD
        if style_B6 is not None and self.condition == "planes":
            planes = style_B6[:, :, None, None].expand(-1, -1, *images_B3HW.shape[2:])
            features = torch.cat([images_B3HW, planes], dim=1)
        features = self.stem(features)
        if self.stem_film is not None:
            features = self.stem_film(features, style_B6)
        features = functional.relu(features)
        skips = []
        for down in self.down:
            skips.append(features)
            features = functional.relu(down(features))
        for block in self.blocks:
            features = block(features, style_B6)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            features = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = functional.relu(up(features) + skip)
        change = self.out(features)
        return images_B3HW + change if self.config.is_residual else torch.tanh(change)

    @property
    def multiple_px(self) -> int:
        """What height and width of an image must be a multiple of."""
        return 1 << self.config.num_downsamples

    @property
    def margin_px(self) -> int:
        """How far an output pixel looks, in pixels of the image; statistics of a tile aside."""
        config = self.config
        blocks = config.num_blocks * (config.block_px - 1)
        halvings = sum(4 << i for i in range(config.num_downsamples))
        return config.sharpness_px + 2 + halvings + blocks * self.multiple_px


def kernel_of(network: nn.Module) -> NDArray[np.float32]:
    """The kernel of one direction by which a network sharpens or blurs; (1,) where it does not."""
    sharpness = getattr(network, "sharpness", None)
    if not isinstance(sharpness, Sharpness):
        return np.ones(1, np.float32)
    return np.asarray(sharpness.kernel().detach().cpu().numpy(), np.float32)


def to_grey(images_B3HW: Tensor) -> Tensor:
    """The images in grey of the same mean optical density; grey images stay as they are."""
    grey = od_luminance(images_B3HW).neg().exp() * 2 - 1
    return grey[:, None].expand(-1, 3, -1, -1)


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
        row = self.kernel().expand(3, 1, 1, -1)
        padded = functional.pad(images_B3HW, [radius] * 4, mode="reflect")
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

    def forward(self, features_BCHW: Tensor, style_B6: Tensor | None) -> Tensor:
        """Features of the same shape."""
        scale, shift = self.layers(style_B6)[:, :, None, None].chunk(2, dim=1)
        changed: Tensor = features_BCHW * (1 + scale) + shift
        return changed


class StyleBlock(nn.Module):
    """A residual block of C channels that starts as the identity, shifted by a style or not.

    Without norm it is SkipInit (De and Smith, NeurIPS 2020): the branch has a gain that starts at
    zero, and no statistics are needed.
    """

    def __init__(self, channels: int, kernel: int, norm: Norm, *, is_film: bool) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(channels, channels, kernel), _norm(norm, channels)
        self.second, self.second_norm = _conv(channels, channels, kernel), _norm(norm, channels)
        self.gain = nn.Parameter(torch.tensor(0.0 if norm == "none" else 1.0))
        self.film = Film(channels) if is_film else None

    def forward(self, features_BCHW: Tensor, style_B6: Tensor | None = None) -> Tensor:
        """Features of the same shape."""
        branch = self.first_norm(self.first(features_BCHW))
        if self.film is not None:
            branch = self.film(branch, style_B6)
        branch = self.second_norm(self.second(functional.relu(branch)))
        changed: Tensor = features_BCHW + self.gain * branch
        return changed


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of an image, as in PatchGAN (Isola et al., CVPR 2017).

    Without normalization, which would hide the very colours that are to be judged.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, config.width, 4, stride=2), nn.LeakyReLU(0.2)]
        width = config.width
        for _ in range(config.num_layers - 1):
            layers += [_conv(width, 2 * width, 4, stride=2), nn.LeakyReLU(0.2)]
            width *= 2
        self.layers = nn.Sequential(
            *layers, _conv(width, width, 3), nn.LeakyReLU(0.2), _conv(width, 1, 1)
        )

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Scores (B, 1, H / 2**num_layers, W / 2**num_layers), high for what looks real."""
        scores: Tensor = self.layers(images_B3HW)
        return scores


def _conv(num_in: int, num_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    padding = (kernel - stride) // 2 if stride > 1 else kernel // 2
    layer = nn.Conv2d(
        num_in, num_out, kernel, stride, padding, padding_mode="reflect" if padding else "zeros"
    )
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    return nn.BatchNorm2d(channels) if kind == "running" else nn.Identity()
