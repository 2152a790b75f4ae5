"""Images of the past, so that a discriminator does not forget: Shrivastava et al., CVPR 2017."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class ImagePool:
    """Keeps up to size images and hands out, for each new one, it or an older one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def exchange(self, images_B3HW: Tensor, random: np.random.Generator) -> Tensor:
        """As many images as are given: each with even odds itself, or one kept earlier.

        random  a generator for this step alone, so that a resumed run draws the same
        """
        if not self.size:
            return images_B3HW
        chosen = []
        for image in images_B3HW.detach():
            if len(self._images) < self.size:
                self._images.append(image.clone())
                chosen.append(image)
            elif random.random() < 0.5:
                place = int(random.integers(self.size))
                chosen.append(self._images[place].to(image.device))
                self._images[place] = image.clone()
            else:
                chosen.append(image)
        return torch.stack(chosen)

    def state_dict(self) -> dict[str, Any]:
        """The images, oldest place first, on the CPU: another process may keep them."""
        return {"images": [image.cpu() for image in self._images]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave."""
        self._images = list(state["images"])
