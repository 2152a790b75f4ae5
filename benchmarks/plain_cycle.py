"""What most people write to train a CycleGAN: image files, a DataLoader, fp32; the same networks.

Told generators are told the style of a slide, as ours are; everything else is CycleGAN's own loop.
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import source_generator, target_generator
from pathology.stain.networks import Discriminator
from pathology.stain.style_vector import Home

POOL = 50


class UnpairedFiles(Dataset[tuple[Tensor, Tensor]]):
    """Crops of two folders of pictures, unpaired."""

    def __init__(self, sources: Sequence[Path], targets: Sequence[Path], crop_px: int) -> None:
        from torchvision import transforms

        self.sources, self.targets = sources, targets
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(crop_px),
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = drawn(self.sources), drawn(self.targets)
        source, target = (self.transform(Image.open(path).convert("RGB")) for path in pair)
        return source, target


def drawn(paths: Sequence[Path]) -> Path:
    return paths[int(torch.randint(len(paths), ()))]


class Plain:
    """Two generators, two discriminators, Adam, and the loop of CycleGAN."""

    def __init__(self, config: CycleConfig, home: Home, device: str) -> None:
        self.config, self.device = config, device
        self.to_target = target_generator(config, home).to(device)
        self.to_source = source_generator(config, home).to(device)
        self.judges = [Discriminator(config.discriminator).to(device) for _ in range(2)]
        generators = itertools.chain(self.to_target.parameters(), self.to_source.parameters())
        rate, betas = config.learning_rate, (0.5, 0.999)
        self.of_generators = torch.optim.Adam(generators, rate, betas)
        both = itertools.chain(*(judge.parameters() for judge in self.judges))
        self.of_judges = torch.optim.Adam(both, rate, betas)
        self.pools: list[list[Tensor]] = [[], []]

    def step(self, source: Tensor, target: Tensor, style: Tensor) -> float:
        config, at_target, at_source = self.config, *self.judges
        told = {name: (style,) if network.is_told else () for name, network in self.named()}
        as_target = self.to_target(source, *told["to_target"])
        as_source = self.to_source(target, *told["to_source"])
        loss = self.real(at_target(as_target)) + self.real(at_source(as_source))
        back = self.to_source(as_target, *told["to_source"])
        home = self.to_target(as_source, *told["to_target"])
        cycle = functional.l1_loss(back, source) + functional.l1_loss(home, target)
        same = functional.l1_loss(self.to_target(target, *told["to_target"]), target)
        same = same + functional.l1_loss(self.to_source(source, *told["to_source"]), source)
        loss = loss + config.weights.cycle * cycle + config.weights.identity * same
        self.of_generators.zero_grad()
        loss.backward()
        self.of_generators.step()
        judged = torch.zeros((), device=self.device)
        for judge, real, made, pool in zip(
            self.judges, (target, source), (as_target, as_source), self.pools, strict=True
        ):
            old = self.pooled(pool, made.detach())
            judged = judged + self.real(judge(real)) + self.fake(judge(old))
        self.of_judges.zero_grad()
        (judged / 2).backward()
        self.of_judges.step()
        return loss.item() + judged.item()

    def named(self) -> tuple[tuple[str, nn.Module], ...]:
        return ("to_target", self.to_target), ("to_source", self.to_source)

    @staticmethod
    def real(scores: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([(score - 1).square().mean() for score in scores]).sum()

    @staticmethod
    def fake(scores: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([score.square().mean() for score in scores]).sum()

    @staticmethod
    def pooled(pool: list[Tensor], images: Tensor) -> Tensor:
        found = []
        for image in images:
            if len(pool) < POOL:
                pool.append(image)
                found.append(image)
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(POOL, ()))
                found.append(pool[place].clone())
                pool[place] = image
            else:
                found.append(image)
        return torch.stack(found)


def steps_per_second(
    config: CycleConfig,
    home: Home,
    files: tuple[Sequence[Path], Sequence[Path]],
    device: str,
    seconds: float,
    workers: int,
) -> float:
    """Updates in a second, loading included, after the first five."""
    plain = Plain(config, home, device)
    style = torch.from_numpy(home.sources).to(device).expand(config.batch_size, -1)
    loader = DataLoader(
        UnpairedFiles(*files, config.crop_px), config.batch_size, num_workers=workers,
        pin_memory=device == "cuda", drop_last=True,
    )  # fmt: skip
    start = 0.0
    for step, (source, target) in enumerate(loader):
        if step == 5:
            start = time.perf_counter()
        plain.step(source.to(device), target.to(device), style)
        if step > 5 and time.perf_counter() - start > seconds:
            return (step - 4) / (time.perf_counter() - start)
    raise AssertionError("the loader never ends")
