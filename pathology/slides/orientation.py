"""Which way up a stored picture is shown, by the Orientation entry of TIFF and EXIF."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathology.slides.reader import SlideFacts

ORIENTATION = 274  # the entry's number


def orientation_of(said: Any) -> int:
    """An Orientation entry as 1 to 8; 1, as stored, where it says nothing that has a meaning."""
    return int(said) if said in range(1, 9) else 1


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Values (H, W) or (H, W, C) as every viewer shows them, by the Orientation of EXIF 2.3.

    orientation  1 to 8
    """
    if orientation >= 5:  # rows were columns
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def upright_facts(facts: SlideFacts, orientation: int) -> SlideFacts:
    """What a file says of its stored rows and columns, for the upright picture."""
    if orientation < 5:
        return facts
    turned = [replace(spacing, mpp=spacing.mpp[::-1]) for spacing in facts.spacings]
    return replace(facts, spacings=tuple(turned))
