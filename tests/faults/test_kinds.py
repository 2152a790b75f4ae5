"""Files of unusual kinds show the true picture or are refused: never a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import kinds
import numpy as np
import pytest
from pictures import tissue

from pathology.core.errors import UnreadableSlide
from pathology.core.manifest import SlideRecord
from pathology.slides.open import open_slide
from pathology.slides.plan import Plane

PIXELS = tissue(512, 512, seed=3)


def picture(path: Path) -> np.ndarray:
    """Level 0 of a file, as signed numbers."""
    reader = open_slide(SlideRecord(path.stem, path))
    size = reader.levels[0].size
    try:
        return reader.read_plane(Plane(0, 1, size, (1.0, 1.0)), (0, 0), size).astype(np.int16)
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("make", "tolerance"), [(kinds.readable_kinds, 0.0), (kinds.close_kinds, 12.0)]
)
def test_kinds_of_colour_show_the_picture(
    tmp_path: Path, make: Callable[..., dict[str, Path]], tolerance: float
) -> None:
    for name, path in make(tmp_path, PIXELS).items():
        difference = np.abs(picture(path) - PIXELS).mean()
        assert difference <= tolerance, f"{name}: off by {difference:.1f}"


def test_grey_is_grey_and_black_is_dark(tmp_path: Path) -> None:
    grey = PIXELS @ np.array([0.299, 0.587, 0.114])
    for name, path in kinds.grey_kinds(tmp_path, PIXELS).items():
        assert np.abs(picture(path) - grey[..., None]).max() <= 1.5, name


def test_strange_kinds_are_refused_with_a_reason(tmp_path: Path) -> None:
    for name, path in kinds.strange_kinds(tmp_path).items():
        with pytest.raises(UnreadableSlide, match=r"cannot be decoded|damaged"):
            picture(path)
            pytest.fail(f"{name} was read")
