"""Scores of all tiles of a slide, and of the slide, by a network that is ready."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.weak.network import BagClassifier


class SlideScores(NamedTuple):
    """Probabilities (N, C) of a slide's tiles, (C,) of the slide by the method, attention (N,)."""

    tile_NC: NDArray[np.float64]
    slide_C: NDArray[np.float64]
    attention_N: NDArray[np.float64] | None


@torch.inference_mode()
def score_slide(model: BagClassifier, blocks: Iterable[Tensor]) -> SlideScores:
    """Scores of a slide whose tiles come in blocks of features (n, F) or pixels (n, 3, H, W)."""
    model.eval()
    features = [block if model.encoder is None else model.encoder(block) for block in blocks]
    return score_bag(model, torch.cat(features))


@torch.inference_mode()
def score_bag(model: BagClassifier, features_NF: Tensor) -> SlideScores:
    """The same of a slide's features, on the model's device."""
    model.eval()
    output = model.bag(features_NF[None])
    attention = output.attention_BKN
    return SlideScores(
        output.tile_BNC[0].double().softmax(dim=1).cpu().numpy(),
        output.slide_BC[0].double().softmax(dim=0).cpu().numpy(),
        None if attention is None else attention[0].mean(dim=0).double().cpu().numpy(),
    )
