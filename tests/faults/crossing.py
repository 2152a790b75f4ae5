"""What another process does with the stores and slides that it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pathology.core.manifest import SlideRecord
from pathology.slides.open import open_slide
from pathology.slides.plan import Plane
from pathology.tiling.store import TileStore


def tiles_of(store: TileStore, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of a store that came by pickle, and a region of a slide opened here."""
    reader = open_slide(SlideRecord("a", path))
    try:
        plane = Plane(0, 1, reader.levels[0].size, (1.0, 1.0))
        return store.read(slice(0, 3)), reader.read_plane(plane, (512, 512), (256, 256))
    finally:
        reader.close()
