"""The generator's pupil: one blur or sharpening, then colours alone, fast enough for a CPU.

1x1 convolutions as in StainNet (Kang et al., Frontiers in Medicine 2021), after the one kernel by
which the sharpness of two scanners differs. B batch, H, W height and width; images from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from pathology.stain import losses
from pathology.stain.cycle_config import StudentConfig
from pathology.stain.networks import Sharpness

Draw = Callable[[np.random.Generator], Tensor]  # images (B, 3, H, W) for one step


class StainStudent(nn.Module):
    """Sharpness, then a residual change of each pixel's colour."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.sharpness = Sharpness(config.sharpness_px) if config.sharpness_px else nn.Identity()
        layers: list[nn.Module] = [nn.Conv2d(3, config.width, 1), nn.ReLU()]
        for _ in range(config.num_layers - 2):
            layers += [nn.Conv2d(config.width, config.width, 1), nn.ReLU()]
        self.color = nn.Sequential(*layers, nn.Conv2d(config.width, 3, 1))

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Images of the same shape in the teacher's style."""
        return self.paint(self.sharpness(images_B3HW))

    def paint(self, images_B3HW: Tensor) -> Tensor:
        """The change of colour alone."""
        change: Tensor = self.color(images_B3HW)
        return images_B3HW + change


def distill(
    teacher: nn.Module,
    student: StainStudent,
    draw: Draw,
    config: StudentConfig,
    seed: int,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> StainStudent:
    """Train the student to give what the teacher gives.

    draw    images for one step, of sources and of the target alike
    report  told the step and the mean absolute difference
    """
    optimizer = torch.optim.Adam(student.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, config.steps))
    teacher.eval()
    for step in range(config.steps):
        images = draw(np.random.default_rng([seed, step]))
        with torch.no_grad():
            wanted = teacher(images).clamp(-1, 1)
        loss = losses.l1_loss(student(images), wanted)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        report(step, loss.item())
    return student.eval()
