"""Vahadane's method: two stains by sparse non-negative factorization of optical density.

Vahadane et al., "Structure-preserving color normalization and sparse stain separation for
histological images", IEEE TMI 2016: minimize 1/2 |OD - C W|^2 + sparsity * |C|_1 over C, W >= 0
with unit rows of W, equation (4), by turns: C exactly, as it has two columns only, then each row
of W by hierarchical least squares (Cichocki & Phan 2009). Two deviations, for speed and so that
colors change by one function: amounts are taken by least squares once W is known, and what
neither stain explains is carried over.
"""

from __future__ import annotations

from typing import Literal

from array_api_compat import array_namespace

from pathology.stain.arrays import Array, as_floats
from pathology.stain.config import StainConfig
from pathology.stain.matrix import angles, h_first, stain_matrices, unit_rows
from pathology.stain.stains import TwoStainReference
from pathology.stain.tissue import Tissue

MAX_ROUNDS = 200
TOLERANCE = 1e-5  # of a row's change in a round
NUM_FACTORED = 20_000  # pixels that are enough for six numbers


class VahadaneReference(TwoStainReference):
    """A style of two stains, which sparse factorization finds on each slide."""

    method: Literal["vahadane"] = "vahadane"

    @classmethod
    def matrices(cls, tissue: Tissue, config: StainConfig) -> Array:
        """Stain matrix (G, 2, 3) of each group, the factorization started from Macenko's.

        Zeros where Macenko finds one stain: a factorization splits even that in two.
        """
        xp = array_namespace(tissue.od_GP3)
        start = as_floats(
            stain_matrices(tissue.od_GP3, tissue.is_stained_GP, config.angle_percentile)
        )
        step = max(1, -(-tissue.od_GP3.shape[1] // NUM_FACTORED)) | 1
        is_stained = tissue.is_stained_GP[:, ::step, None]
        od = xp.where(is_stained, xp.clip(tissue.od_GP3[:, ::step], 0.0, None), 0.0)
        is_two = (angles(start) >= config.min_angle)[:, None, None]
        return xp.where(is_two, h_first(factorized(od, start, config.sparsity)), 0.0)


def factorized(od_GP3: Array, rows_G23: Array, sparsity: float) -> Array:
    """The stain matrix (G, 2, 3) that sparse factorization reaches from rows_G23, unit rows.

    od_GP3    optical density, not negative; 0 where a pixel does not count
    sparsity  weight of the L1 term, in optical density
    """
    xp = array_namespace(od_GP3)
    for _ in range(MAX_ROUNDS):
        codes = sparse_codes(od_GP3, rows_G23, sparsity)
        turned = xp.permute_dims(codes, (0, 2, 1))
        before = rows_G23
        rows_G23 = better_rows(xp.matmul(turned, codes), xp.matmul(turned, od_GP3), rows_G23)
        if float(xp.max(xp.abs(rows_G23 - before))) < TOLERANCE:
            break
    return rows_G23


def sparse_codes(od_GP3: Array, rows_G23: Array, sparsity: float) -> Array:
    """Amounts (G, P, 2) >= 0 that minimize 1/2 |od - amounts @ rows|^2 + sparsity * sum(amounts).

    Exact for two unit rows: both stains, or the better one alone.
    """
    xp = array_namespace(od_GP3)
    pull = xp.matmul(od_GP3, xp.permute_dims(rows_G23, (0, 2, 1))) - sparsity
    overlap = xp.clip(xp.sum(rows_G23[:, 0] * rows_G23[:, 1], axis=-1), None, 0.9999)[:, None]
    first, second = pull[..., 0], pull[..., 1]
    rest = 1 - overlap**2
    both_first, both_second = (
        (first - overlap * second) / rest,
        (second - overlap * first) / rest,
    )
    is_both = (both_first >= 0) & (both_second >= 0)
    is_first = first >= second
    alone_first = xp.where(is_first, xp.clip(first, 0.0, None), 0.0)
    alone_second = xp.where(is_first, 0.0, xp.clip(second, 0.0, None))
    codes = [
        xp.where(is_both, both_first, alone_first),
        xp.where(is_both, both_second, alone_second),
    ]
    return xp.stack(codes, axis=-1)


def better_rows(codes_by_codes: Array, codes_by_od: Array, rows_G23: Array) -> Array:
    """Unit rows (G, 2, 3) that explain the densities better, one after the other.

    codes_by_codes  (G, 2, 2) and codes_by_od (G, 2, 3): products summed over pixels
    A stain that no pixel uses stays as it is.
    """
    xp = array_namespace(rows_G23)
    first, second = rows_G23[:, 0], rows_G23[:, 1]
    mixed = codes_by_codes[:, 0, 1][:, None]
    first = _row(codes_by_od[:, 0] - mixed * second, first)
    second = _row(codes_by_od[:, 1] - mixed * first, second)
    return xp.stack([first, second], axis=1)


def _row(direction_G3: Array, otherwise_G3: Array) -> Array:
    """A unit row (G, 3) along a direction, or the other where that has no positive part."""
    xp = array_namespace(direction_G3)
    row = unit_rows(direction_G3)
    return xp.where((xp.sum(row**2, axis=-1) > 0.5)[:, None], row, otherwise_G3)
