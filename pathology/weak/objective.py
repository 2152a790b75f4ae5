"""The terms of each method's loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from pathology.weak.bag import BagBatch, BagOutput
from pathology.weak.config import UpperConfig, WeakConfig
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
    num_tiles = batch.row_BN.shape[1]
    tile_TC, tile_label_T = output.tile_BNC.flatten(0, 1), label_B.repeat_interleave(num_tiles)
    if config.method == "oracle":
        return {"tile": known_cross_entropy(tile_TC, batch.truth_BN.flatten())}
    if config.method == "forward":
        shares = config.by_grade(config.share if is_warm else (1.0,))
        grade_CC = slide_grades(shares).to(tile_TC)
        return {"tile": forward_cross_entropy(tile_TC, tile_label_T, grade_CC).mean()}
    if config.method in ("ce", "ut", "rce", "rce-ut", "em"):
        weight_T = batch.weight_BN.flatten()
        terms = {"tile": rectified_cross_entropy(tile_TC, tile_label_T, weight_T).mean()}
        if config.method.endswith("ut"):
            terms["upper"] = upper_term(config.upper, tile_TC, tile_label_T)
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
