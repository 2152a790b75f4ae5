"""What every method gives for bags of tiles, whatever it was trained by.

B slides, N tiles of each, C ordered grades, F features, K attentions.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class BagBatch(NamedTuple):
    """So many tiles of each of B slides.

    tiles_BNF  their features, or their pixels (B, N, 3, H, W) from 0 to 1
    label_B    grades of the slides
    weight_BN  of rectification, from 0 to 1
    row_BN     which tiles they are, among all of the training
    truth_BN   the tiles' own grades, -1 where nobody knows; for the oracle alone
    """

    tiles_BNF: Tensor
    label_B: Tensor
    weight_BN: Tensor
    row_BN: Tensor
    truth_BN: Tensor


class BagOutput(NamedTuple):
    """Raw scores of tiles and of their slides.

    tile_BNC       logits of each tile
    slide_BC       logits of each slide
    attention_BKN  how much each tile counted, summing to 1 over N, or None; K is 1 or C
    own_loss       a term of the method's own, or None; it takes the slides' labels to have one
    """

    tile_BNC: Tensor
    slide_BC: Tensor
    attention_BKN: Tensor | None = None
    own_loss: Tensor | None = None
