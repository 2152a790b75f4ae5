"""Reading tiles in blocks: each is judged as a picture, and kept ones are encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.slides.reader import SlideReader, read_tiles
from pathology.tiling.config import TilingConfig
from pathology.tiling.grid import Corners, by_block
from pathology.tiling.quality import (
    VERDICTS,
    Look,
    QualityScores,
    judging_px,
    look_at,
    look_at_planes,
    quality_scores,
    verdict,
)
from pathology.tiling.store import encode_tile
from pathology.tiling.survey import Survey

NUM_SAMPLES = 16


class Judged(NamedTuple):
    """A block of tiles after reading: what was found of every one, and the kept ones encoded."""

    l0_xy: Corners
    scores: list[QualityScores]
    verdicts: list[str | None]
    encoded: list[bytes]


class Selection(NamedTuple):
    """All tiles of a slide after judging; counts are by verdict, scores are of the kept ones."""

    kept: Corners
    rejected: Corners
    scores: dict[str, NDArray[np.float32]]
    counts: dict[str, int]


def judge_blocks(
    slide: SlideReader, survey: Survey, config: TilingConfig, threads: int
) -> Iterator[Judged]:
    """Blocks of tiles in order, read ahead by a few so that memory stays bounded."""
    blocks = by_block(survey.l0_xy, survey.plan.l0_stride)
    if threads <= 1:
        for block in blocks:
            yield _judge(slide, survey, config, block)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Judged]] = deque()
        try:
            for block in blocks:
                ahead.append(pool.submit(_judge, slide, survey, config, block))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def select(blocks: Sequence[Judged]) -> Selection:
    """What was found of all blocks together."""
    l0_xy = np.concatenate([np.zeros((0, 2), np.int64), *(block.l0_xy for block in blocks)])
    verdicts = [found for block in blocks for found in block.verdicts]
    is_kept = np.array([found is None for found in verdicts], np.bool_)
    scores = np.array([s for block in blocks for s in block.scores], np.float32)
    scores = scores.reshape(-1, len(QualityScores._fields))[is_kept]
    return Selection(
        kept=l0_xy[is_kept],
        rejected=l0_xy[~is_kept],
        scores={name: scores[:, i].copy() for i, name in enumerate(QualityScores._fields)},
        counts={f"num_{name}": verdicts.count(name) for name in VERDICTS},
    )


def without_judging(survey: Survey) -> Selection:
    """Every tile with enough tissue, in the order judge_blocks would give them."""
    blocks = by_block(survey.l0_xy, survey.plan.l0_stride)
    none = np.zeros((0, 2), np.int64)
    return Selection(np.concatenate([none, *blocks]), none, {}, {})


def estimate_bytes(slide: SlideReader, survey: Survey, config: TilingConfig) -> int:
    """Size of a slide's store, from the encoded size of a few tiles spread over it."""
    num_tiles = len(survey.l0_xy)
    if not num_tiles:
        return 0
    rows = np.unique(np.linspace(0, num_tiles - 1, NUM_SAMPLES).astype(int))
    sample = _judge(slide, survey, config, survey.l0_xy[rows])
    return round(sum(map(len, sample.encoded)) / len(rows) * num_tiles)


def _judge(slide: SlideReader, survey: Survey, config: TilingConfig, l0_xy: Corners) -> Judged:
    judged_px = judging_px(survey.plan.size_px, survey.plan.achieved_mpp[0], config.quality)
    block = Judged(l0_xy, [], [], [])
    for look, encode in _read(slide, survey, config, l0_xy):
        scores = quality_scores(look, judged_px, config.quality)
        found = verdict(scores, config.quality)
        block.scores.append(scores)
        block.verdicts.append(found)
        if found is None:
            block.encoded.append(encode())
    return block


def _read(
    slide: SlideReader, survey: Survey, config: TilingConfig, l0_xy: Corners
) -> Iterator[tuple[Look, Callable[[], bytes]]]:
    """Each tile's look and a way to its bytes, by the shortest way that the file allows.

    Both are valid until the next tile is asked for.
    """
    plan, store = survey.plan, config.store
    is_jpeg = store.encoding == "jpeg"
    halved = None
    if is_jpeg and store.subsampling == "444":
        halved = slide.iter_halved(l0_xy, plan, store.jpeg_quality)
    if halved is not None:
        for corner, tile in zip(l0_xy, halved, strict=True):
            if tile is None:
                pixels = read_tiles(slide, corner[np.newaxis], plan)[0]
                yield look_at(pixels), partial(encode_tile, pixels, store)
            else:
                yield look_at_planes(tile.planes), partial(bytes, tile.stream)
        return
    stored = slide.stored_jpegs(l0_xy, plan) if is_jpeg and store.keep_stored else None
    for number, pixels in enumerate(slide.iter_tiles(l0_xy, plan)):
        if stored is None:
            yield look_at(pixels), partial(encode_tile, pixels, store)
        else:
            yield look_at(pixels), partial(bytes, stored[number])
