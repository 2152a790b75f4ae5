"""Scores of many slides by one network, shared among the processes of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pathology.models.encoder import Encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.training.together import gathered
from pathology.weak.network import BagClassifier
from pathology.weak.predict import SlideScores, score_slide
from pipelines.weak_data import BlockReader


def score_slides(
    model: BagClassifier, reader: BlockReader, slides: Sequence[int]
) -> Iterator[tuple[int, SlideScores]]:
    """Each slide's number with its scores."""
    model = _fast(model, reader.device)
    for slide in slides:
        yield slide, score_slide(model, reader(reader.tiles.table.rows(slide)))


def _fast(model: BagClassifier, device: str) -> BagClassifier:
    """The same model, for these weights alone as fast as it can be on a CPU."""
    if device != "cpu" or not isinstance(model.encoder, Encoder):
        return model
    return BagClassifier(model.bag, OnnxEncoder(model.encoder))


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
