"""The generator's pupil: one blur or sharpening, then colors alone, fast enough for a CPU.

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
from pathology.stain.layers import Sharpness
from pathology.stain.networks import StyleGenerator, register_home, scaled, with_planes
from pathology.stain.rerender import at_home, rerendered
from pathology.stain.style_vector import NUM_STYLE, Home

Draw = Callable[[np.random.Generator], tuple[Tensor, Tensor]]  # images (B, 3, H, W), styles (B, S)


class StainStudent(nn.Module):
    """Sharpness, then a residual change of each pixel's color.

    home      given where the generator is told its slide's style: the student is, too, and its
              change of color comes on top of the re-rendering by stains
    residual  factor of that on what neither stain explains
    """

    home: Tensor
    away: Tensor
    kept: Tensor
    residual: Tensor

    def __init__(
        self, config: StudentConfig, home: Home | None = None, residual: float = 1.0
    ) -> None:
        super().__init__()
        self.is_told = home is not None
        self.register_buffer("residual", torch.tensor(float(residual)))
        if home is not None:
            register_home(self, home)
        self.sharpness = Sharpness(config.sharpness_px) if config.sharpness_px else nn.Identity()
        num_in = 3 + (NUM_STYLE if self.is_told else 0)
        layers: list[nn.Module] = [nn.Conv2d(num_in, config.width, 1), nn.ReLU()]
        for _ in range(config.num_layers - 2):
            layers += [nn.Conv2d(config.width, config.width, 1), nn.ReLU()]
        last = nn.Conv2d(config.width, 3, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.color = nn.Sequential(*layers, last)

    def forward(self, images_B3HW: Tensor, style_BS: Tensor | None = None) -> Tensor:
        """Images of the same shape in the teacher's style."""
        return self.paint(self.sharpness(images_B3HW), style_BS)

    def paint(self, images_B3HW: Tensor, style_BS: Tensor | None = None) -> Tensor:
        """The change of color alone."""
        if (style_BS is not None) != self.is_told:
            raise ValueError(f"a student with is_told {self.is_told} and style {style_BS!r}")
        features = images_B3HW
        if style_BS is not None:
            home_BS = at_home(style_BS, self.home, self.away, self.kept)
            images_B3HW = rerendered(images_B3HW, style_BS, home_BS, self.residual)
            features = with_planes(images_B3HW, scaled(style_BS))
        change: Tensor = self.color(features)
        return images_B3HW + change


def student_of(teacher: StyleGenerator, config: StudentConfig) -> StainStudent:
    """A new student that starts where its teacher started."""
    if not teacher.role:
        return StainStudent(config)
    home = Home(teacher.home.cpu().numpy(), teacher.away.cpu().numpy(), float(teacher.kept))
    return StainStudent(config, home, teacher.residual.item())


def distill(
    teacher: nn.Module,
    student: StainStudent,
    draw: Draw,
    config: StudentConfig,
    seed: int,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> StainStudent:
    """Train the student to give what the teacher gives.

    draw    images for one step, of sources and of the target alike, and their slides' styles
    report  told the step and the mean absolute difference
    """
    optimizer = torch.optim.Adam(student.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, config.steps))
    teacher.eval()
    for step in range(config.steps):
        images, style = draw(np.random.default_rng([seed, step]))
        told = (images, style) if student.is_told else (images,)
        with torch.no_grad():
            wanted = teacher(*told).clamp(-1, 1)
        loss = losses.l1_loss(student(*told), wanted)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        report(step, loss.item())
    return student.eval()
