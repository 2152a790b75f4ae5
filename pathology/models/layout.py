"""Which order of pixels and channels in memory suits an encoder on a GPU: measured, not guessed.

Most convolutions are faster with channels last; grouped and depthwise ones, of which many small
encoders are made, may be many times slower so, by the device, the library and the precision.
"""

from __future__ import annotations

import time

import torch

from pathology.models.encoder import Encoder

LAYOUTS = (torch.channels_last, torch.contiguous_format)
WARM_UP, TIMED = 2, 3  # passes


def choose_layout(
    encoder: Encoder, tile_px: int, *, learns: bool, is_bf16: bool = False, num_tiles: int = 32
) -> None:
    """Put an encoder into the layout that is faster on its GPU, once for it and its copies; on
    another device into channels last.

    learns  whether gradients are asked for, too
    """
    if encoder.layout is None and next(encoder.parameters()).device.type == "cuda":
        seconds = [
            seconds_in(layout, encoder, tile_px, learns, is_bf16, num_tiles) for layout in LAYOUTS
        ]
        encoder.layout = LAYOUTS[seconds.index(min(seconds))]
    encoder.to(memory_format=encoder.layout or torch.channels_last)


def take_layout(encoder: Encoder, layout: torch.memory_format) -> None:
    """Put the weights into a layout, and every image that comes."""
    encoder.layout = layout
    encoder.to(memory_format=layout)


def seconds_in(
    layout: torch.memory_format,
    encoder: Encoder,
    tile_px: int,
    learns: bool,
    is_bf16: bool,
    num_tiles: int,
) -> float:
    """Seconds of some passes with a layout, after the first ones, which prepare much."""
    take_layout(encoder, layout)
    was_training = encoder.training
    encoder.eval()  # no statistics learn from these tiles
    device = next(encoder.parameters()).device
    tiles = torch.full((num_tiles, 3, tile_px, tile_px), 0.5, device=device)
    start = 0.0
    with torch.set_grad_enabled(learns):
        for number in range(WARM_UP + TIMED):
            if number == WARM_UP:
                _wait(device)
                start = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
                made = encoder(tiles)
            if made.requires_grad:
                made.float().sum().backward()
                encoder.zero_grad(set_to_none=True)
    _wait(device)
    encoder.train(was_training)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
