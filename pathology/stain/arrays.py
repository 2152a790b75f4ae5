"""Statistics of groups of pixels, written once for numpy arrays and torch tensors.

Shape letters here and in the methods: G groups (slides, or tiles), P pixels of a group, 3 colors.
A group's pixels that do not count are masked, never cut out, so that groups stay one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_namespace

Array = Any  # numpy.ndarray or torch.Tensor: no type says "either" to both


def like(values: object, array: Array) -> Array:
    """Numbers as float32 beside an array: of its library, on its device."""
    xp = array_namespace(array)
    return xp.asarray(np.asarray(values, np.float32), device=device(array))


def as_numpy(array: Array) -> Any:
    """An array as one of numpy's, wherever it lies."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu())


def as_floats(array: Array) -> Array:
    """The same numbers as float32."""
    xp = array_namespace(array)
    return xp.astype(array, xp.float32)


def num_counted(is_counted_GP: Array) -> Array:
    """How many pixels (G,) of each group count, int64."""
    xp = array_namespace(is_counted_GP)
    return xp.sum(xp.astype(is_counted_GP, xp.int64), axis=1)


def masked_mean(values_GPC: Array, is_counted_GP: Array) -> Array:
    """Mean (G, C) of the values that count, float32, summed in float64; 0 where none does."""
    xp = array_namespace(values_GPC)
    weight = xp.astype(is_counted_GP, xp.float64)[:, None, :]
    total = xp.matmul(weight, xp.astype(values_GPC, xp.float64))[:, 0]
    number = xp.clip(xp.sum(weight, axis=-1), 1.0, None)
    return as_floats(total / number)


def masked_percentiles(values_GP: Array, is_counted_GP: Array, percents: Sequence[float]) -> Array:
    """Percentiles (G, Q) of the values that count, as numpy.percentile has them; 0 where none does.

    percents  (Q,) between 0 and 100
    """
    xp = array_namespace(values_GP)
    if is_numpy_namespace(xp):  # which selects, faster than it sorts
        found = np.zeros((len(values_GP), len(percents)), np.float32)
        for row, values, is_counted in zip(found, values_GP, is_counted_GP, strict=True):
            if is_counted.any():
                row[:] = np.percentile(values[is_counted], percents)
        return found
    ordered = xp.sort(xp.where(is_counted_GP, values_GP, float("inf")), axis=1)
    last = xp.clip(num_counted(is_counted_GP) - 1, 0, None)[:, None]
    place = xp.astype(last, xp.float64) * like(percents, values_GP) / 100
    low = xp.astype(xp.floor(place), xp.int64)
    high = xp.minimum(low + 1, last)
    below = xp.take_along_axis(ordered, low, axis=1)
    above = xp.take_along_axis(ordered, high, axis=1)
    between = below + (above - below) * as_floats(place - low)
    return xp.where(xp.isfinite(between), between, 0.0)
