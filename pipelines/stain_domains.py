"""What a stain model is trained on: tiles of the sources and of the target, with their styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.core.errors import ArtifactError
from pathology.data.tile_pool import TilePool
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import CycleBatch, is_source_told
from pathology.stain.macenko import estimate_stains
from pathology.stain.matrix import Pixels
from pathology.stain.saved_style import StainError
from pathology.stain.style_vector import slide_vector, tile_vectors
from pathology.stain.styles import tile_styles
from pathology.stain.tensors import to_tensor
from pathology.tiling.store import read_attributes
from pipelines.input_kinds import TileInput, as_input
from pipelines.raw_tiles import require_raw
from pipelines.stain_styles import styles_of
from pipelines.tile_samples import Sampling, SlideTiles, iter_samples, require_usable

MPP_TOLERANCE = 0.02

Matrices = NDArray[np.float32]  # (N, 2, 3) of one slide's tiles


@dataclass(frozen=True, eq=False)
class StyledTiles:
    """Tiles of one side, and their styles of S numbers: each tile's own (N, S), its slide's (N, S).

    See stain.style_vector. A tile's own has the slide's strengths.
    """

    pool: TilePool
    tile_NS: Tensor
    slide_NS: Tensor

    def __len__(self) -> int:
        return len(self.pool)

    @classmethod
    def of_slides(
        cls, slides: Sequence[Pixels], centres: Sequence[str], matrices: Sequence[Matrices]
    ) -> Self:
        """The tiles of slides, with the stain matrices of each slide's tiles."""
        vectors = [slide_vector(tiles) for tiles in slides]
        pairs = zip(matrices, vectors, strict=True)
        own = np.concatenate([tile_vectors(matrix, vector) for matrix, vector in pairs])
        slide = np.repeat(np.stack(vectors), [len(tiles) for tiles in slides], axis=0)
        pool = TilePool.of_slides(slides, centres)
        return cls(pool, torch.from_numpy(own), torch.from_numpy(slide))


@dataclass(frozen=True, eq=False)
class Domains:
    """Both sides of a training, at one resolution."""

    source: StyledTiles
    target: StyledTiles
    mpp: float | None
    centres: tuple[str, ...]


def read_domains(
    sources: Sequence[Path | TileInput],
    target: Path | TileInput,
    config: CycleConfig,
    assume_mpp: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Domains:
    """Tiles of every source and of the target, all at one resolution, with their styles.

    Raises StainError where a centre that is to be held out is none of the sources', where none is
    left, where resolutions differ, and for tiles that are normalized already.
    """
    inputs = [as_input(source) for source in sources]
    _require_known(config.holdout_centres, inputs)
    targets = _sampled(as_input(target), config, config.mpp, assume_mpp, say)
    known = [slide.mpp for slide in targets if slide.mpp]
    mpp = config.mpp or (float(np.median(known)) if known else None)
    found = [
        (slide, slide.centre or given.path.stem)
        for given in inputs
        for slide in _sampled(given, config, mpp, assume_mpp, say)
    ]
    kept = [(slide, centre) for slide, centre in found if centre not in config.holdout_centres]
    if not kept:
        held = ", ".join(config.holdout_centres)
        raise StainError(f"no source is left to train on: holdout_centres ({held}) names them all")
    _require_one_mpp([*targets, *(slide for slide, _ in kept)], mpp)
    return Domains(
        _styled([slide for slide, _ in kept], [centre for _, centre in kept]),
        _styled(targets, [slide.centre for slide in targets]),
        mpp,
        tuple(sorted({centre for _, centre in kept})),
    )


def domains_of(
    sources: Sequence[Pixels], centres: Sequence[str], targets: Sequence[Pixels]
) -> Domains:
    """Domains of slides' tiles that are in memory already."""
    config = StainConfig()
    source, target = (
        StyledTiles.of_slides(slides, names, [tile_styles(s, config).matrix_N23 for s in slides])
        for slides, names in ((sources, centres), (targets, ["target"] * len(targets)))
    )
    return Domains(source, target, None, tuple(sorted(set(centres))))


def draw_batch(
    domains: Domains, config: CycleConfig, rank: int, device: torch.device, step: int
) -> CycleBatch:
    """The batch of one step: a function of seed, step and process, and of nothing else.

    Where both ways are told styles they are told the slides'. As published, the way back is told
    the tile's own, which is noisier and speaks of the tile's content, too.
    """
    random = np.random.default_rng([config.seed, step, rank])
    size, crop = config.batch_size, config.crop_px
    source = domains.source.pool.draw(random, size, crop)
    target = domains.target.pool.draw(random, size, crop)
    other = domains.source.pool.choose(random, size)
    style_NS = domains.source.slide_NS if is_source_told(config) else domains.source.tile_NS
    return CycleBatch(
        to_tensor(source.pixels_BHW3, device),
        to_tensor(target.pixels_BHW3, device),
        style_NS[source.tile_B].to(device),
        style_NS[other].to(device),
        domains.source.slide_NS[source.tile_B].to(device),
        domains.target.slide_NS[target.tile_B].to(device),
    )


def _styled(slides: Sequence[SlideTiles], centres: Sequence[str]) -> StyledTiles:
    matrices = [styles_of(slide, StainConfig()) for slide in slides]
    return StyledTiles.of_slides([slide.tiles_NHW3 for slide in slides], centres, matrices)


def _sampled(
    given: TileInput,
    config: CycleConfig,
    mpp: float | None,
    assume_mpp: float | None,
    say: Callable[[str], None],
) -> list[SlideTiles]:
    path, num = given.path, config.tiles_per_slide
    sampling = Sampling(config.tile_px, num, mpp, assume_mpp, setting="tile_px")
    samples = list(iter_samples(given, sampling))
    for slide in samples:
        require_raw(path, slide.slide_id, slide.stain)
        if slide.problem:
            say(f"{slide.slide_id}: left out: {slide.problem}")
    usable = require_usable(samples, path)
    num_tiles = sum(len(slide.tiles_NHW3) for slide in usable)
    pixels = np.concatenate([slide.tiles_NHW3.reshape(-1, 3) for slide in usable])
    problem = estimate_stains(pixels, StainConfig()).problem
    if problem:
        raise StainError(f"{path}: no stained tissue to learn from ({problem}). Give H&E tissue")
    say(f"{path}: {num_tiles:,} tiles of {len(usable)} slides")
    return usable


def _require_known(holdout: Sequence[str], inputs: Sequence[TileInput]) -> None:
    """Raise StainError for a centre to be held out that no source has, before pixels are read.

    Those of slides that cannot be read, or that a run does not train on, are known, too.
    """
    if not holdout:
        return
    known = {centre for given in inputs for centre in _centres_of(given)}
    unknown = [centre for centre in holdout if centre not in known]
    if unknown:
        raise StainError(
            f"holdout_centres: no source has a centre {', '.join(map(repr, unknown))}. Their "
            f"centres: {', '.join(sorted(known))}"
        )


def _centres_of(given: TileInput) -> set[str]:
    """Centres of an input's slides, as lists and stores say them; its name where they do not."""
    listed, name = dict(given.centres), given.path.stem
    found = {centre for centre in listed.values() if centre}
    found |= {slide.centre or name for slide in given.slides}
    return found | {listed.get(path.stem) or _said_of(path) or name for path in given.stores}


def _said_of(store: Path) -> str:
    """The centre that a tile store says, or ""; a damaged one is told of where it is read."""
    try:
        return str(read_attributes(store).get("outcome", {}).get("centre", ""))
    except ArtifactError:
        return ""


def _require_one_mpp(slides: Sequence[SlideTiles], mpp: float | None) -> None:
    """Raise StainError where tiles of different resolution would be mixed."""
    for slide in slides:
        if mpp and slide.mpp and abs(slide.mpp / mpp - 1) > MPP_TOLERANCE:
            raise StainError(
                f"{slide.slide_id}: its tiles have {slide.mpp:.4g} um/px, the others {mpp:.4g}. "
                "Tile both sides at one tile.mpp, or give the slides themselves and mpp=..."
            )
