"""Dropout as a function of the step, so that a run that was stopped draws the same as before."""

from __future__ import annotations

import torch


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed what a network on a device draws from next.

    As torch.manual_seed does, which looks for every kind of device each time: that costs a
    millisecond, and a step on features takes eight.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
