"""A program of two processes that train a CycleGAN in one go, and once more with a stop.

Word: a folder. Each process leaves in it the networks that both ways ended with.
"""

import sys
from functools import partial
from pathlib import Path

import torch

from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import CycleBatch, CycleStep, bare
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.style_vector import style_vector
from pathology.training.fabric import make_fabric
from pathology.training.loop import Loop, fit

CONFIG = CycleConfig.model_validate(
    {
        "generator": {"width": 4, "num_blocks": 1}, "discriminator": {"width": 4, "num_layers": 1},
        "steps": 18, "pool_size": 6, "batch_size": 2, "crop_px": 16,
    }
)  # fmt: skip
RUNS = {"whole": (18,), "halves": (12, 18)}  # steps after which each is ended


def draw(rank: int, step: int) -> CycleBatch:
    """Every process its own images."""
    random = torch.Generator().manual_seed(1000 * rank + step)
    source, target = torch.rand(2, 2, 3, 16, 16, generator=random) - 0.5
    style_BS = torch.from_numpy(style_vector(TEXTBOOK.stains)).expand(2, -1)
    return CycleBatch(source, target, *[style_BS] * 4)


def main(out: Path) -> None:
    """Train by both ways."""
    fabric = make_fabric("cpu", num_devices=2)
    fabric.launch()
    rank = fabric.global_rank
    for name, stops in RUNS.items():
        for steps in stops:
            update = CycleStep(CONFIG, backward=fabric.backward, setup=fabric.setup)
            fit(
                update, partial(draw, rank), Loop(steps, 3, 6), out / name, "recipe",
                is_first=fabric.is_global_zero,
            )  # fmt: skip
            fabric.barrier()  # until the first has written
        networks = {key: bare(network).state_dict() for key, network in update.networks.items()}
        kept = {"networks": networks, "averaged": update.averaged.state_dict()}
        pools = {key: pool.state_dict() for key, pool in update.pools.items()}
        torch.save({**kept, "pools": pools}, out / f"{name}_{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
