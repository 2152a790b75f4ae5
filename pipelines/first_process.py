"""Of several processes that train one model, the first alone tells people of it."""

from __future__ import annotations

import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, of Fabric's launcher, of srun


def is_first() -> bool:
    """Whether this is the first of them, or the only one; known before they meet."""
    names = [name for name in RANKS if name in os.environ]
    return not names or int(os.environ[names[0]]) == 0


def tell(line: str) -> None:
    """Print a line, in the first process."""
    if is_first():
        print(line, flush=True)
