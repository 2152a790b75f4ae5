"""Device, precision and several processes: the one door to Lightning Fabric."""

from __future__ import annotations

from typing import Literal

from lightning_fabric import Fabric

from pathology.core.errors import ConfigError

Precision = Literal["32", "bf16"]
PLUGINS = {"32": "32-true", "bf16": "bf16-mixed"}


def make_fabric(device: str = "auto", precision: Precision = "32", num_devices: int = 1) -> Fabric:
    """A Fabric for a device (auto, cpu, cuda or mps), in so many processes.

    Raises ConfigError for a device that this machine does not have.
    """
    try:
        return Fabric(
            accelerator="gpu" if device == "cuda" else device,
            devices=num_devices,
            precision=PLUGINS[precision],  # type: ignore[arg-type]
            strategy="ddp" if num_devices > 1 else "auto",
        )
    except (RuntimeError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise ConfigError(f"--device {device} --devices {num_devices}: {said}") from error
