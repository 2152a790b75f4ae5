"""Each model on each slide: fitted, rendered, timed, scored; and a few tiles kept to look at."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.evaluation.stain_flags import flags_of
from pathology.evaluation.stain_scores import (
    NO_SEAMS,
    ColorProfile,
    SlideAfter,
    SlideBefore,
    SlideScores,
    profile_of,
    score_slide,
)
from pathology.slides import jpeg
from pathology.slides.reader import scale_to
from pathology.stain.color_distance import color_distance
from pathology.stain.matrix import Floats, Pixels, optical_density
from pathology.stain.normalizer import Rendered, SlideNormalizer
from pathology.stain.seams import SeamScore, border_steps, neighbors, seam_score
from pathology.stain.tile_renderer import TileRenderer
from pathology.tiling.store import TileStore, open_tiles
from pipelines.stain_models import NamedModel
from pipelines.tile_samples import USUAL_MPP, SlideTiles

PICTURE_PX, PICTURE_QUALITY = 192, 80
PICTURES_PER_SLIDE = 3
COLORS_PER_SLIDE = 4000
RENDER_AT_ONCE = 16


@dataclass(frozen=True)
class SlideMeasured:
    """All that is kept of a slide.

    scores    one a model
    colors    a sample of tissue in L*a*b* (n, 3), of "source" and of each model by name
    pictures  of a few tiles, JPEG streams by model name
    """

    slide_id: str
    centre: str
    scores: Sequence[SlideScores]
    colors: Mapping[str, Floats]
    pictures: Sequence[Mapping[str, bytes]]


@dataclass(frozen=True)
class Borders:
    """Tiles (n, H, W, 3) of some rows of a store that share borders.

    pairs  (M, 3) of first, second and axis
    """

    store: TileStore
    rows: NDArray[np.int64]
    tiles: Pixels
    pairs: NDArray[np.int64]

    def rendered(self, normalizer: SlideNormalizer) -> Pixels:
        """The tiles as a store of them would be rendered, with what their neighbors show."""
        renderer = TileRenderer(self.store, normalizer)
        step = renderer.rows_at_once
        firsts = range(0, len(self.rows), step)
        rows: list[int] = self.rows.tolist()
        return np.concatenate([renderer.render(rows[at : at + step]).tiles for at in firsts])

    def seams(self, tiles: Pixels) -> SeamScore:
        """The seams of these tiles, or of the same tiles in other colors."""
        steps = []
        for first, second, axis in self.pairs.tolist():
            one, other = tiles[first], tiles[second]
            if axis == 1:
                one, other = one.swapaxes(0, 1), other.swapaxes(0, 1)
            steps.append(border_steps(one, other))
        return seam_score(steps)


def measure_slide(
    slide: SlideTiles,
    models: Sequence[NamedModel],
    target: ColorProfile,
    config: StainEvaluationConfig,
) -> SlideMeasured:
    """Every model on one slide, flags included. Raises SlideError for a damaged store."""
    tiles = slide.tiles_NHW3
    borders = borders_of(slide.store, config.borders_per_slide)
    mpp = slide.mpp or config.assume_mpp or USUAL_MPP
    before = SlideBefore(
        slide.slide_id,
        slide.centre,
        tiles,
        profile_of(tiles, config.stain),
        borders.seams(borders.tiles) if borders else NO_SEAMS,
        config.nucleus_um / mpp,
    )
    shown = most_stained(tiles, PICTURES_PER_SLIDE)
    pictures: list[dict[str, bytes]] = [{} for _ in shown]
    scores, colors = [], {"source": _some(before.profile.lab)}
    for model in models:
        misfit = model.misfit(slide.mpp)
        if misfit:
            bare = SlideScores(
                model=model.name, slide_id=slide.slide_id, centre=slide.centre, problem=misfit
            )
            scores.append(_flagged(bare, config))
            continue
        after = _render(model, tiles, borders, config)
        row, profile = score_slide(model.name, before, after, target, config)
        scores.append(_flagged(row, config) if model.model else row)
        colors[model.name] = _some(profile.lab)
        for picture, at in zip(pictures, shown, strict=True):
            picture[model.name] = picture_of(after.rendered.tiles[at])
    return SlideMeasured(slide.slide_id, slide.centre, scores, colors, pictures)


def borders_of(path: Path | None, num: int) -> Borders | None:
    """Up to num borders, evenly chosen, between tiles of a store; None where it has none."""
    if path is None or not num:
        return None
    store = open_tiles(path)
    plan = store.attributes.get("plan", {})
    if "l0_tile_size" not in plan:
        return None
    width, height = plan["l0_tile_size"]
    pairs = neighbors(store.l0_xy, (round(width), round(height)))
    if not len(pairs):
        return None
    chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, num).round().astype(int))]
    rows, places = np.unique(chosen[:, :2], return_inverse=True)
    table = np.column_stack([places.reshape(-1, 2), chosen[:, 2]])
    return Borders(store, rows, store.read(rows), table)


def target_profile(
    slides: Sequence[SlideTiles], config: StainEvaluationConfig
) -> tuple[ColorProfile, float | None]:
    """The colors of all target slides together, and how far parts of them lie from each other.

    The parts are the slides, each against the rest; of a single slide every other tile.
    """
    tiles = np.concatenate([slide.tiles_NHW3 for slide in slides])
    parts = [slide.tiles_NHW3 for slide in slides]
    if len(parts) == 1:
        parts = [tiles[::2], tiles[1::2]]
    profiles = [profile_of(part, config.stain) for part in parts if len(part)]
    whole = profile_of(tiles, config.stain)
    spread = [color_distance(profile.quantiles, whole.quantiles) for profile in profiles]
    known = [value for value in spread if np.isfinite(value)]
    return whole, round(float(np.mean(known)), 4) if len(known) > 1 else None


def most_stained(tiles: Pixels, num: int) -> list[int]:
    """The tiles that hold most stain, best first: what there is to see."""
    if not len(tiles):
        return []
    small = tiles[:, ::8, ::8]
    od = optical_density(small, np.full(3, 240.0)).mean(axis=(1, 2, 3))
    order: list[int] = np.argsort(-od, kind="stable")[:num].tolist()
    return order


def picture_of(tile: Pixels) -> bytes:
    """A tile as a small JPEG."""
    zoom = min(1.0, PICTURE_PX / max(tile.shape[:2]))
    size = (round(tile.shape[1] * zoom), round(tile.shape[0] * zoom))
    return jpeg.encode(scale_to(np.ascontiguousarray(tile), size), PICTURE_QUALITY, "420")


def _render(
    model: NamedModel, tiles: Pixels, borders: Borders | None, config: StainEvaluationConfig
) -> SlideAfter:
    """The slide's tiles, one small batch after the other, as a store would be rendered."""
    normalizer = model.for_slide(tiles, config.stain)
    normalizer.render(tiles[:1])  # tables are built where they are used first: not rendering
    start = time.perf_counter()
    rendered = _in_batches(normalizer, tiles)
    seconds = max(time.perf_counter() - start, 1e-9)
    seams = NO_SEAMS
    if borders:
        seams = borders.seams(borders.rendered(normalizer))
    is_rendered = model.model is not None and not rendered.is_passed.all()
    speed = round(len(tiles) / seconds, 1) if is_rendered else None
    return SlideAfter(rendered, seams, speed, normalizer.problem)


def _in_batches(normalizer: SlideNormalizer, tiles: Pixels) -> Rendered:
    parts = [
        normalizer.render(tiles[first : first + RENDER_AT_ONCE])
        for first in range(0, len(tiles), RENDER_AT_ONCE)
    ]
    return Rendered(
        np.concatenate([part.tiles for part in parts]),
        np.concatenate([part.is_passed for part in parts]),
    )


def _flagged(row: SlideScores, config: StainEvaluationConfig) -> SlideScores:
    return replace(row, flags="; ".join(flags_of(row, config.flags)))


def _some(lab: Floats) -> Floats:
    return lab[:: max(1, len(lab) // COLORS_PER_SLIDE)]
