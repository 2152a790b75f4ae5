"""How near the student and a slide's table come to the generator that they stand for."""

from __future__ import annotations

import numpy as np

from pathology.data.tile_pool import TilePool
from pathology.stain.config import Quality, StainConfig
from pathology.stain.learned import Fidelity, LearnedModel
from pathology.stain.similarity import paired_scores

MAX_SLIDES, TILES_PER_SLIDE = 8, 4


def measure_fidelity(model: LearnedModel, source: TilePool) -> dict[str, Fidelity]:
    """Mean PSNR and SSIM to the teacher, by quality, on a few tiles of evenly chosen slides."""
    slides = np.unique(source.slide_N)
    chosen = slides[:: -(-len(slides) // MAX_SLIDES)]
    scores: dict[Quality, list[tuple[float, float]]] = {"student": [], "lut": []}
    for slide in chosen:
        tiles = source.tiles_NHW3[source.slide_N == slide]
        shown = tiles[:: -(-len(tiles) // TILES_PER_SLIDE)]
        teacher = model.for_slide(tiles, StainConfig(quality="teacher")).render(shown).tiles
        for quality, found in scores.items():
            rendered = model.for_slide(tiles, StainConfig(quality=quality)).render(shown).tiles
            ssim, psnr = paired_scores(list(rendered), list(teacher))
            found.append((float(np.mean(psnr)), float(np.mean(ssim))))
    return {
        quality: Fidelity(*np.mean(found, axis=0).round(4).tolist())
        for quality, found in scores.items()
    }
