"""Device, precision and several processes: the one door to Lightning Fabric."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from pathology.core.errors import ConfigError

Precision = Literal["32", "bf16"]


class Bf16(MixedPrecision):
    """bf16 inside of networks alone: what they are given keeps its digits.

    Fabric would round inputs to bf16, too, of which 8 bits are left: too few for colors.
    """

    def __init__(self, device: str) -> None:
        super().__init__("bf16-mixed", device)

    def convert_input(self, data: Any) -> Any:
        """The data as they are."""
        return data


def make_fabric(
    device: str = "auto",
    precision: Precision = "32",
    num_devices: int = 1,
    *,
    has_unused: bool = False,
) -> Fabric:
    """A Fabric for a device (auto, cpu, cuda or mps), in so many processes.

    has_unused  whether a step may leave some weights without a gradient
    Raises ConfigError for a device that this machine does not have.
    """
    ddp = "ddp_find_unused_parameters_true" if has_unused else "ddp"
    has_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    try:
        return Fabric(
            accelerator="gpu" if device == "cuda" else device,
            devices=num_devices,
            plugins=Bf16("cuda" if has_cuda else "cpu") if precision == "bf16" else None,
            strategy="auto" if num_devices == 1 else ddp,
        )
    except (RuntimeError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise ConfigError(f"--device {device} --devices {num_devices}: {said}") from error


def device_of(name: str) -> str:
    """The device of a name, auto being the fastest there is. Raises ConfigError for a missing one.

    For work in one process that needs no Fabric.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((device for device, is_there in found.items() if is_there), "cpu")
    if not found.get(name, True):
        raise ConfigError(f"--device {name}: this machine has none")
    return name
