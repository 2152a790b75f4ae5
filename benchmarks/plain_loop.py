"""What most people write: a Dataset of files, a DataLoader, torch as it comes; beside ours."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

LEAVE_OUT = 2  # steps before the clock starts


class TileFiles(Dataset[tuple[torch.Tensor, int]]):
    """Tiles as JPEG files, each with its slide's grade."""

    def __init__(
        self, paths: Sequence[Path], grades: Sequence[int], transform: Callable[..., torch.Tensor]
    ) -> None:
        self.paths, self.grades, self.transform = paths, grades, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), self.grades[index]


class BagFiles(Dataset[tuple[torch.Tensor, int]]):
    """Slides as h5 files of features, some tiles of each drawn: how MIL code reads them."""

    def __init__(self, paths: Sequence[Path], grades: Sequence[int], num_tiles: int) -> None:
        self.paths, self.grades, self.num_tiles = paths, grades, num_tiles

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        import h5py

        with h5py.File(self.paths[index]) as file:
            features = np.asarray(file["features"])
        features = features.reshape(-1, features.shape[-1])
        rows = torch.randint(len(features), (self.num_tiles,))
        return torch.from_numpy(features)[rows], self.grades[index]


def for_training(size_px: int) -> Callable[..., torch.Tensor]:
    """Torchvision's counterparts of what ours varies tiles by."""
    from torchvision import transforms

    made: Callable[..., torch.Tensor] = transforms.Compose(
        [
            transforms.Resize(size_px),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomAffine(degrees=0, scale=(0.85, 1.15)),
            transforms.RandomApply([transforms.GaussianBlur(7, (0.1, 1.0))], 0.5),
            transforms.ColorJitter(0.1, 0.1, 0.1, 0.05),
            transforms.ToTensor(),
        ]
    )
    return made


def for_features() -> Callable[..., torch.Tensor]:
    from torchvision import transforms

    made: Callable[..., torch.Tensor] = transforms.ToTensor()
    return made


def features_per_second(
    encoder: nn.Module, paths: Sequence[Path], workers: int, device: str = "cpu", batch: int = 32
) -> float:
    """Tiles through an encoder in a second, and the features back."""
    loader = DataLoader(
        TileFiles(paths, [0] * len(paths), for_features()), batch_size=batch, num_workers=workers,
        pin_memory=device != "cpu",
    )  # fmt: skip
    encoder.to(device).eval()
    start, num = time.perf_counter(), 0
    with torch.no_grad():
        for tiles, _ in loader:
            num += len(encoder(tiles.to(device)).cpu())
    return num / (time.perf_counter() - start)


def steps_per_second(
    network: nn.Module,
    dataset: Dataset[tuple[torch.Tensor, int]],
    batch: int,
    steps: int,
    workers: int,
    device: str = "cpu",
) -> float:
    """Updates by cross-entropy in a second, data loading included, after the first few."""
    num = (steps + LEAVE_OUT) * batch
    sampler = RandomSampler(dataset, replacement=True, num_samples=num)  # type: ignore[arg-type]
    loader = DataLoader(
        dataset, batch_size=batch, sampler=sampler, num_workers=workers,
        pin_memory=device != "cpu",
    )  # fmt: skip
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    network.train()
    start = 0.0
    for step, (tiles, grades) in enumerate(loader):
        if step == LEAVE_OUT:
            start = time.perf_counter()
        logits = network(tiles.to(device)).flatten(0, -2)
        labels = grades.to(device).repeat_interleave(len(logits) // len(grades))
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()  # what is under way on a device is waited for
    return steps / (time.perf_counter() - start)
