"""The terms of each method's loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from pathology.weak.bag import BagBatch, BagOutput
from pathology.weak.config import OF_SLIDES, UpperConfig, WeakConfig
from pathology.weak.losses import (
    forward_cross_entropy,
    rectified_cross_entropy,
    slide_grades,
    upper_transition,
    upper_transition_by_class,
)

CLAM_BAG_WEIGHT = 0.7  # CLAM's --bag_weight


def loss_terms(
    config: WeakConfig, output: BagOutput, batch: BagBatch, *, is_warm: bool = True
) -> dict[str, Tensor]:
    """Weighted terms, each a scalar, whose sum is the loss of a batch.

    is_warm  whether the epochs are over in which tiles are taken for their slide's grade
    """
    label_B = batch.label_B
    if config.method == "oracle":
        tile_TC = output.tile_BNC.flatten(0, 1)
        return {"tile": known_cross_entropy(tile_TC, batch.truth_BN.flatten())}
    if config.method in OF_SLIDES:
        terms = tile_terms(config, output.tile_BNC, batch, is_warm=is_warm)
        if config.slide_weight:
            terms["slide"] = slide_term(config.slide_weight, output.slide_BC, label_B)
        return terms
    if config.method == "dsmil":  # each stream by itself, though a slide's logits are their mean
        critical_BC = output.tile_BNC.amax(dim=1)
        streams = {"slide": 2 * output.slide_BC - critical_BC, "instance": critical_BC}
        return {name: 0.5 * functional.cross_entropy(s, label_B) for name, s in streams.items()}
    slide = functional.cross_entropy(output.slide_BC, label_B)
    if output.own_loss is not None:
        instance = (1 - CLAM_BAG_WEIGHT) * output.own_loss
        return {"slide": CLAM_BAG_WEIGHT * slide, "instance": instance}
    return {"slide": slide}


def tile_terms(
    config: WeakConfig, tile_BNC: Tensor, batch: BagBatch, *, is_warm: bool
) -> dict[str, Tensor]:
    """The terms of a method that looks at tiles alone and knows their slides' grades."""
    num_tiles = batch.row_BN.shape[1]
    tile_TC, label_T = tile_BNC.flatten(0, 1), batch.label_B.repeat_interleave(num_tiles)
    if config.method == "forward":
        shares = config.by_grade(config.share if is_warm else (1.0,))
        grade_CC = slide_grades(shares).to(tile_TC)
        return {"tile": forward_cross_entropy(tile_TC, label_T, grade_CC).mean()}
    weight_T = batch.weight_BN.flatten()
    terms = {"tile": rectified_cross_entropy(tile_TC, label_T, weight_T).mean()}
    if config.method.endswith("ut"):
        terms["upper"] = upper_term(config.upper, tile_TC, label_T)
    return terms


def slide_term(weight: float, slide_BC: Tensor, label_B: Tensor) -> Tensor:
    """Mean cross-entropy of slides with their grades, times a weight: -w log p[y].

    slide_BC  pooled logits of their tiles: of each grade by itself the mean of its highest ones, a
              share topk of those in the batch and one at least; see pooled
    """
    return weight * functional.cross_entropy(slide_BC, label_B)


def upper_term(config: UpperConfig, tile_TC: Tensor, label_T: Tensor) -> Tensor:
    """The upper-transition term of T tiles, times its weight."""
    loss = upper_transition if config.form == "mass" else upper_transition_by_class
    return config.weight * loss(tile_TC, label_T).mean()


def known_cross_entropy(tile_TC: Tensor, truth_T: Tensor) -> Tensor:
    """Mean cross-entropy of the tiles whose own grade is known; 0 where none is."""
    is_known_T = truth_T >= 0
    if not bool(is_known_T.any()):
        return tile_TC.sum() * 0
    return functional.cross_entropy(tile_TC[is_known_T], truth_T[is_known_T])
