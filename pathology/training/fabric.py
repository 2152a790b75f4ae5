"""Device, precision and several processes: the one door to Lightning Fabric."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from pathology.core.errors import ConfigError

__all__ = ["Fabric", "Precision", "device_of", "make_fabric"]

Precision = Literal["32", "bf16"]
Started = TorchElasticEnvironment | SLURMEnvironment
PATIENCE = timedelta(days=1)  # the first process may read slides for hours while others wait


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
    """A Fabric for a device (auto, cpu, cuda or mps), in so many processes of this machine.

    One that torchrun or srun has started works together with the others that they have.

    has_unused  whether a step may leave some weights without a gradient
    Raises ConfigError for a device that this machine does not have, or where as many processes
    were started as are not asked for.
    """
    has_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    try:
        environment, num, num_machines = _processes(num_devices)
        plugins: list[Any] = [environment]
        plugins += [Bf16("cuda" if has_cuda else "cpu")] if precision == "bf16" else []
        ddp = DDPStrategy(timeout=PATIENCE, find_unused_parameters=has_unused)
        return Fabric(
            accelerator="gpu" if device == "cuda" else device,
            devices=num,
            num_nodes=num_machines,
            plugins=plugins,
            strategy="auto" if num * num_machines == 1 else ddp,
        )
    except (RuntimeError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise ConfigError(f"--device {device} --devices {num_devices}: {said}") from error


def _processes(num_devices: int) -> tuple[Started | LightningEnvironment, int, int]:
    """Who starts them, how many on each machine, and on how many machines."""
    if TorchElasticEnvironment.detect():
        num, every = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        found: tuple[Started, int, int] = TorchElasticEnvironment(), num, every // num
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        num_machines = int(os.environ["SLURM_STEP_NUM_NODES"])
        num = int(os.environ["SLURM_STEP_NUM_TASKS"]) // num_machines
        found = SLURMEnvironment(), num, num_machines
    else:
        return LightningEnvironment(), num_devices, 1
    if num_devices not in (1, num):
        raise ValueError(f"{num} processes were started on this machine; leave --devices out")
    return found


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
