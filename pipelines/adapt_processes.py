"""An adaptation in several processes: the first reads both domains, all learn from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ConfigError
from pathology.training.fabric import Fabric, make_fabric
from pathology.training.together import from_first, num_processes
from pipelines.adapt_domains import AdaptOptions, Domains

LEAST = 2  # tiles of a domain that a process learns from in a step
NOTHING = np.zeros((0, 0), np.float32)


def launched(config: AdaptConfig, options: AdaptOptions) -> Fabric:
    """The processes of an adaptation, started: each goes on from here with all the others.

    Raises ConfigError where a batch cannot be shared by them.
    """
    fabric = make_fabric(options.device, options.precision, options.num_devices)
    num, size = fabric.world_size, config.batch_size
    if size < LEAST * num or size % num:
        raise ConfigError(
            f"batch_size={size}: {num} processes share a batch, as many tiles of either domain "
            f"each and no fewer than {LEAST}. Set batch_size={num * max(LEAST, -(-size // num))}"
        )
    fabric.launch()
    return fabric


def read_together(read: Callable[[], Domains], folder: Path) -> Domains:
    """What read gives, in every process; the first alone calls it.

    folder  where the features lie as pixels do, for all to map; one process keeps its own
    """
    if num_processes() == 1:
        return read()
    paths = [folder / f"{name}.npy" for name in ("source", "target")]

    def keep() -> Domains:
        domains = read()
        for path, part in zip(paths, (domains.train, domains.target), strict=True):
            if not isinstance(part.values, np.memmap):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)  # and not cut short: an older one may still be mapped
                np.save(path, part.values)
        return domains.with_values(NOTHING, NOTHING)

    domains = from_first(keep)
    source, target = (np.load(path, mmap_mode="r") for path in paths)
    return domains.with_values(source, target)
