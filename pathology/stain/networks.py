"""The networks of the stain CycleGAN: a generator that may be told a style, and a discriminator.

B batch, C channels, H, W height and width. Images are float RGB from -1 (black) to 1 (white).
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pathology.stain.cycle_config import Condition, DiscriminatorConfig, GeneratorConfig
from pathology.stain.layers import Film, Sharpness, StyleBlock, conv, norm_of
from pathology.stain.losses import od_luminance
from pathology.stain.rerender import at_home, rerendered
from pathology.stain.style_vector import NUM_STYLE, Home

# About what laboratories have, and how much they differ: stain matrix, strengths.
STYLE_MEAN = (0.55, 0.75, 0.38, 0.1, 0.92, 0.3, 2.0, 1.2)
STYLE_SD = (0.2,) * 6 + (0.6,) * 2


Role = Literal["", "to home", "from home"]


class StyleGenerator(nn.Module):
    """Renders an image in another style; towards or from many styles it is told which.

    Zhou et al., MICCAI 2019: the way back of a many-to-one CycleGAN is given the stain matrix of
    the original image. condition "planes" gives a style as constant channels beside the image,
    "film" as a scale and shift of the first features and of every block (Perez et al., AAAI 2018),
    "none" not at all.

    role     "to home": it is told its images' styles, and begins as their re-rendering by stains
             to that of home, instead of as the identity; "from home": it is told the styles wanted,
             and begins as the re-rendering from home to them. "": neither
    home     the style of the target, once and for all; it is kept with the weights
    is_grey  it sees its images in grey, as one intermediate domain of all sources
    """

    home: Tensor
    away: Tensor
    kept: Tensor

    def __init__(
        self,
        config: GeneratorConfig,
        condition: Condition = "none",
        *,
        role: Role = "",
        home: Home | None = None,
        is_grey: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.condition, self.is_grey = config, condition, is_grey
        self.role: Role = role
        if self.role:
            register_home(self, home)
            self.residual = nn.Parameter(torch.ones(()))
        num_in = 3 + (NUM_STYLE if condition == "planes" else 0)
        widths = [config.width * 2**i for i in range(config.num_downsamples + 1)]
        is_film = condition == "film"
        self.sharpness = Sharpness(config.sharpness_px) if config.sharpness_px else nn.Identity()
        self.stem = conv(num_in, widths[0], config.edge_px)
        self.stem_film = Film(widths[0]) if is_film else None
        self.down = nn.ModuleList(
            nn.Sequential(conv(low, high, 4, stride=2), norm_of(config.norm, high))
            for low, high in pairwise(widths)
        )
        self.blocks = nn.ModuleList(
            StyleBlock(widths[-1], config.block_px, config.norm, is_film=is_film)
            for _ in range(config.num_blocks)
        )
        self.up = nn.ModuleList(
            nn.Sequential(conv(high, low, 3), norm_of(config.norm, low))
            for low, high in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.out = conv(widths[0], 3, config.edge_px)
        if config.is_residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, images_B3HW: Tensor, style_BS: Tensor | None = None) -> Tensor:
        """The images (B, 3, H, W) in the new style; H and W a multiple of 2**num_downsamples.

        style_BS  (B, 8), required where the generator is told a style; None where it is not
        """
        if (style_BS is not None) != self.is_told:
            raise ValueError(f"a generator with is_told {self.is_told} and style {style_BS!r}")
        images_B3HW = self.sharpness(to_grey(images_B3HW) if self.is_grey else images_B3HW)
        if style_BS is not None and self.role:
            home_BS = at_home(style_BS, self.home, self.away, self.kept)
            way = (style_BS, home_BS) if self.role == "to home" else (home_BS, style_BS)
            images_B3HW = rerendered(images_B3HW, *way, self.residual)
        features = opponent(images_B3HW)
        style = None if style_BS is None or self.condition == "none" else scaled(style_BS)
        if style is not None and self.condition == "planes":
            features = with_planes(features, style)
        features = self.stem(features)
        if self.stem_film is not None:
            features = self.stem_film(features, style)
        features = functional.relu(features)
        skips = []
        for down in self.down:
            skips.append(features)
            features = functional.relu(down(features))
        for block in self.blocks:
            features = block(features, style)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            features = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = functional.relu(up(features) + skip)
        change = self.out(features)
        return images_B3HW + change if self.config.is_residual else torch.tanh(change)

    @property
    def is_told(self) -> bool:
        """Whether it must be given the styles of its images."""
        return self.condition != "none" or self.role != ""

    @property
    def multiple_px(self) -> int:
        """What height and width of an image must be a multiple of."""
        return 1 << self.config.num_downsamples

    @property
    def margin_px(self) -> int:
        """How far an output pixel looks, in pixels of the image; statistics of a tile aside.

        Whole multiples, so that a part with its margin is halved at the same places as the whole.
        """
        config = self.config
        blocks = config.num_blocks * (config.block_px - 1)
        halvings = sum(4 << i for i in range(config.num_downsamples))
        looks = config.sharpness_px + config.edge_px - 1 + halvings + blocks * self.multiple_px
        return -(-looks // self.multiple_px) * self.multiple_px


def register_home(module: nn.Module, home: Home | None) -> None:
    """The home of styles as buffers; zeros where the weights that will be loaded hold it."""
    home = (
        home
        if home is not None
        else Home(np.zeros(NUM_STYLE, np.float32), np.zeros(NUM_STYLE, np.float32), 0.0)
    )
    module.register_buffer("home", torch.from_numpy(home.target).clone())
    module.register_buffer("away", torch.from_numpy(home.sources).clone())
    module.register_buffer("kept", torch.tensor(home.kept))


def for_use(generator: StyleGenerator, share: float) -> StyleGenerator:
    """A copy that changes images by a share of what was learned beyond the start, and is quieter.

    An average of a network's start and its end departs less from what was known before (Wortsman
    et al., CVPR 2022); this start is the identity, or the re-rendering by stains. A generator that
    gives whole images instead of their change is kept whole. Of what neither stain explains
    config.residual is carried over: training finds a number of its own for the judges, who want the
    target's grain back.
    """
    copied = deepcopy(generator)
    if copied.role:
        copied.residual.data.fill_(generator.config.residual)
    if generator.config.is_residual:
        with torch.no_grad():
            copied.out.weight.mul_(share)
            copied.out.get_parameter("bias").mul_(share)
    return copied


def scaled(style_BS: Tensor) -> Tensor:
    """Styles about zero and of about unit spread."""
    mean, spread = style_BS.new_tensor(STYLE_MEAN), style_BS.new_tensor(STYLE_SD)
    changed: Tensor = (style_BS - mean) / spread
    return changed


def with_planes(features_BCHW: Tensor, style_BS: Tensor) -> Tensor:
    """Features with the numbers of a style as constant channels beside them."""
    planes = style_BS[:, :, None, None].expand(-1, -1, *features_BCHW.shape[2:])
    return torch.cat([features_BCHW, planes], dim=1)


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


class Discriminator(nn.Module):
    """Two judges: of overlapping patches of an image, and of its colors as a whole.

    The patches as in PatchGAN (Isola et al., CVPR 2017), without normalization, which would hide
    the very colors that are to be judged. What tells two stains apart is how colors are spread over
    more than a patch: the second judge sees mean and deviation of features of single places.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        width = config.width
        layers: list[nn.Module] = [conv(3, width, 4, stride=2), nn.LeakyReLU(0.2)]
        self.colors = nn.Sequential(
            conv(3, width, 4, stride=2), nn.LeakyReLU(0.2), conv(width, width, 1),
            nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.verdict = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.LeakyReLU(0.2), nn.Linear(2 * width, 1)
        )
        for _ in range(config.num_layers - 1):
            layers += [conv(width, 2 * width, 4, stride=2), nn.LeakyReLU(0.2)]
            width *= 2
        self.patches = nn.Sequential(
            *layers, conv(width, width, 3), nn.LeakyReLU(0.2), conv(width, 1, 1)
        )
        for last in (self.patches[-1], self.verdict[-1]):
            nn.init.zeros_(last.get_parameter("weight"))

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, high for what looks real: (B, 1, H / 2**layers, W / 2**layers), and (B, 1)."""
        colors_B3HW = opponent(images_B3HW)
        features_BCN = self.colors(colors_B3HW).flatten(2)
        deviation = features_BCN.var(dim=2).add(1e-4).sqrt()
        whole = self.verdict(torch.cat([features_BCN.mean(dim=2), deviation], dim=1))
        return self.patches(images_B3HW), whole


def opponent(images_B3HW: Tensor) -> Tensor:
    """Brightness, red against blue, and both against green, each of about unit spread in H&E.

    In stained tissue brightness varies ten times as much as the hues that tell stains apart;
    networks that are given red, green and blue are slow to find those.
    """
    red, green, blue = images_B3HW.unbind(dim=1)
    return torch.stack(
        [
            0.8 * (red + green + blue) - 0.8,
            6.0 * (red - blue),
            1.8 * (red + blue - 2 * green) - 2.0,
        ],
        dim=1,
    )
