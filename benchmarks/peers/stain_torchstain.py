"""torchstain: Macenko of every tile by itself, without the images of the single stains."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from stain_peer import Job, Pixels, Render, Variant, main, per_tile
from torchstain.numpy.normalizers import NumpyMacenkoNormalizer
from torchstain.torch.normalizers import TorchMacenkoNormalizer


def prepare_numpy(job: Job) -> Callable[[], Render]:
    normalizer = NumpyMacenkoNormalizer()
    normalizer.fit(job.target)
    return lambda: partial(per_tile, partial(with_numpy, normalizer))


def with_numpy(normalizer: Any, tile: Pixels) -> Pixels:
    normalized: Pixels = normalizer.normalize(tile, stains=False)[0]
    return normalized


def prepare_torch(job: Job, num_threads: int = 1) -> Callable[[], Render]:
    torch.set_num_threads(num_threads)
    normalizer = TorchMacenkoNormalizer()
    normalizer.fit(torch.from_numpy(job.target).permute(2, 0, 1))
    return lambda: partial(per_tile, partial(with_torch, normalizer, num_threads))


@torch.inference_mode()
def with_torch(normalizer: Any, num_threads: int, tile: Pixels) -> Pixels:
    if torch.get_num_threads() != num_threads:  # of this thread: it is no property of the process
        torch.set_num_threads(num_threads)
    normalized = normalizer.normalize(torch.from_numpy(tile).permute(2, 0, 1), stains=False)[0]
    return normalized.numpy().astype(np.uint8)


if __name__ == "__main__":
    main(
        {
            "numpy, processes": Variant(prepare_numpy, "processes"),
            "numpy, threads": Variant(prepare_numpy, "threads"),
            "torch, processes": Variant(prepare_torch, "processes"),
            "torch, threads": Variant(prepare_torch, "threads"),
            "torch, two torch threads": Variant(
                partial(prepare_torch, num_threads=2), "one process"
            ),
        }
    )
