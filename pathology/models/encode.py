"""Tiles through an encoder, in blocks that suit the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pathology.core.errors import ConfigError
from pathology.models.encoder import Encoder
from pathology.models.layout import choose_layout
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.slides.reader import Pixels

USUAL_PX = 224  # edge of tiles, where the network says none
CPU_BLOCK = 16  # tiles at once: features of more do not fit the cache


def prepare(encoder: Encoder, device: str, *, is_bf16: bool = False) -> Encoder | OnnxEncoder:
    """The encoder ready for use, without gradients: on a GPU in the layout that is faster there, on
    a CPU through ONNX Runtime, or in bf16 with channels last in memory.
    """
    ready: Encoder = encoder.eval().requires_grad_(False).to(device)
    choose_layout(ready, ready.size_px or USUAL_PX, learns=False, is_bf16=is_bf16)
    return ready if is_bf16 or torch.device(device).type != "cpu" else OnnxEncoder(ready)


class FirstPart(nn.Module):
    """An encoder without its last blocks, which are left to a training. Frozen, on a device.

    What it gives for a tile is a row of numbers, the maps that those blocks are to take. Raises
    ConfigError where the network cannot be cut there.
    """

    def __init__(self, encoder: Encoder, num_left: int, device: str) -> None:
        super().__init__()
        encoder.learn_last(num_left)
        if not encoder.is_cut:
            raise ConfigError(
                f"encoder {encoder.name!r} cannot be cut before its last {num_left} blocks. Train "
                "on the run itself, or leave another number"
            )
        self.encoder = encoder.eval().to(device)
        self.num_features = 0  # of no tile yet

    @property
    def engine(self) -> str:
        """onnxruntime or torch."""
        return self.encoder.front.engine

    def forward(self, tiles_B3HW: Tensor) -> Tensor:
        """Rows (B, M) of tiles, RGB from 0 (black) to 1 (white)."""
        rows = self.encoder.first_rows(tiles_B3HW)
        self.num_features = rows.shape[1]
        return rows


def to_images(tiles_NHW3: Pixels, device: str = "cpu", size_px: int | None = None) -> Tensor:
    """8-bit tiles as floats (N, 3, H, W) from 0 to 1, averaged down to size_px where it is given.

    Bytes go to the device, which makes floats of them.
    """
    block = torch.from_numpy(np.ascontiguousarray(tiles_NHW3)).to(device, non_blocking=True)
    images = block.permute(0, 3, 1, 2).float().div_(255)
    if size_px is not None and images.shape[2] != size_px:
        mode = "area" if images.shape[2] % size_px == 0 else "bilinear"
        antialias = {"antialias": True} if mode == "bilinear" else {}
        images = functional.interpolate(images, (size_px, size_px), mode=mode, **antialias)
    return images


@torch.inference_mode()
def encode(
    encoder: Encoder | OnnxEncoder | FirstPart,
    tiles_NHW3: Pixels,
    *,
    device: str = "cpu",
    size_px: int | None = None,
    is_bf16: bool = False,
    block: int | None = None,
    vary: Callable[[Tensor], Tensor] | None = None,
) -> NDArray[np.float32]:
    """Features (N, F) of 8-bit tiles by an encoder that was prepared.

    size_px  edge that tiles are scaled to first; None: as they are
    is_bf16  compute in bf16
    block    tiles at once
    vary     applied to the images (n, 3, H, W) before the encoder
    """
    is_cpu = torch.device(device).type == "cpu"
    block = block or (CPU_BLOCK if is_cpu else 256)

    def images_from(start: int) -> Tensor:
        images = to_images(tiles_NHW3[start : start + block], device, size_px)
        return images if vary is None else vary(images)

    starts = range(0, len(tiles_NHW3), block)
    found = []
    for images in _meanwhile(images_from, starts) if is_cpu else map(images_from, starts):
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_bf16):
            found.append(encoder(images).float().cpu().numpy())
    if not found:
        return np.zeros((0, encoder.num_features), np.float32)
    return np.concatenate(found)


def _meanwhile(make: Callable[[int], Tensor], numbers: Sequence[int]) -> Iterator[Tensor]:
    """make(number) of each in turn, the next in a thread while one is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(make, numbers[0]) if numbers else None
        for number in (*numbers[1:], None):
            if following is not None:
                made = following.result()
                following = None if number is None else pool.submit(make, number)
                yield made
