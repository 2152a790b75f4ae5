"""Scores of many slides by one network, shared among the processes of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.training.together import gathered
from pathology.weak.network import BagClassifier
from pathology.weak.predict import SlideScores, score_slide
from pipelines.weak_data import BlockReader

BlocksOf = Callable[[int], Iterable[Tensor]]  # of a slide by its number


def score_slides(
    model: BagClassifier, reader: BlockReader, slides: Sequence[int]
) -> Iterator[tuple[int, SlideScores]]:
    """Each slide's number with its scores.

    What does not learn of an encoder on a CPU sees a tile once, however often the tiles of one
    reader are scored.
    """
    blocks_of, scorer = _fast(model, reader)
    for slide in slides:
        yield slide, score_slide(scorer, blocks_of(slide))


def _fast(model: BagClassifier, reader: BlockReader) -> tuple[BlocksOf, BagClassifier]:
    """What gives the blocks of a slide, and what scores them: for these weights alone."""
    rows_of = reader.tiles.table.rows
    encoder = model.encoder if reader.tiles.is_pixels else None  # maps are of its first part

    def tiles(slide: int) -> Iterable[Tensor]:
        return reader(rows_of(slide))

    if reader.device != "cpu" or not isinstance(encoder, Encoder):
        return tiles, model
    if not encoder.is_cut:
        return tiles, BagClassifier(model.bag, OnnxEncoder(encoder))
    first_rows = encoder.first_rows

    def maps(slide: int) -> Iterable[Tensor]:
        return reader.kept(slide, lambda: map(first_rows, tiles(slide)))

    return maps, model


def own_scores(
    model: BagClassifier, reader: BlockReader, num_slides: int, rank: int, num_ranks: int
) -> NDArray[np.float64]:
    """What the tiles of the first slides give to their slides' grades, (N,) over those tiles.

    Every process scores a share of the slides and is told the rest, so that all know the same.
    """
    table = reader.tiles.table
    rows, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
    for slide, found in score_slides(model, reader, range(rank, num_slides, num_ranks)):
        rows.append(table.rows(slide))
        scores.append(found.tile_NC[:, table.grade_S[slide]])
    device = reader.device
    every_row = gathered(torch.from_numpy(np.concatenate(rows)).to(device)).cpu().numpy()
    every_score = gathered(torch.from_numpy(np.concatenate(scores)).to(device)).cpu().numpy()
    whole = np.empty(len(every_row))
    whole[every_row] = every_score
    return whole
