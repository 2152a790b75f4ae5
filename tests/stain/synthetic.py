"""H&E made of known amounts of known stains."""

import numpy as np
from numpy.typing import NDArray

MATRIX = np.array([[0.66, 0.66, 0.36], [0.12, 0.91, 0.40]])
MATRIX /= np.linalg.norm(MATRIX, axis=1, keepdims=True)
OTHER = np.array([[0.55, 0.72, 0.41], [0.21, 0.80, 0.56]])  # another laboratory's
OTHER /= np.linalg.norm(OTHER, axis=1, keepdims=True)


def he_tiles(
    num: int = 4,
    size: int = 64,
    matrix: NDArray[np.float64] = MATRIX,
    white: float = 243.0,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Tiles (num, size, size, 3): a band of glass, then nuclei, stroma and mixtures in cells."""
    random = np.random.default_rng(seed)
    cells = (num, -(-size // 4), -(-size // 4))
    kinds = random.integers(0, 3, cells)
    h = random.uniform(0.5, 1.8, cells) * np.array([1.0, 0.01, 0.5])[kinds]
    e = random.uniform(0.4, 1.1, cells) * np.array([0.01, 1.0, 0.6])[kinds]
    both = np.stack([h, e], axis=-1).repeat(4, axis=1).repeat(4, axis=2)[:, :size, :size]
    both[:, : size // 8] = 0
    light = white * np.exp(-both @ matrix) + random.normal(0, 1, (num, size, size, 3))
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
