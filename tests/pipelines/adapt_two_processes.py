"""A program of two processes that adapt one classifier; each saves the weights that it ends with.

Words: the manifest of the source, the folder of the target, the encoder's weights, a folder.
"""

import json
import sys
from pathlib import Path

import torch

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ConfigError
from pipelines.adapt_domains import AdaptOptions, Domains, read_domains
from pipelines.adapt_processes import launched, read_together
from pipelines.adapt_training import train_on
from pipelines.input_kinds import look_at


def main(source: Path, target: Path, weights: Path, out: Path) -> None:
    """Train by each of the settings that lie in out."""
    options = AdaptOptions(device="cpu", num_devices=2, weights=weights, target_mpp=0.5)
    configs = json.loads((out / "settings.json").read_text())
    fabric = launched(AdaptConfig.model_validate(next(iter(configs.values()))), options)
    rank = fabric.global_rank
    for name, settings in configs.items():
        config, folder = AdaptConfig.model_validate(settings), out / name

        def read(config: AdaptConfig = config, folder: Path = folder) -> Domains:
            (out / f"read_{folder.name}_{rank}").touch()
            return read_domains(look_at(source), look_at(target), config, options, folder)

        domains = read_together(read, folder)
        model = train_on(domains, config, options, folder, fabric=fabric)
        torch.save(model.state_dict(), out / f"{name}_{rank}.pt")
    try:
        read_together(lambda: read_domains(look_at(target), look_at(target), config, options, out),
                      out)  # fmt: skip
    except (ConfigError, SystemExit) as end:
        (out / f"end_{rank}").write_text(str(end))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
