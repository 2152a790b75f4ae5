"""How long a training is where nobody says it."""

from __future__ import annotations

import pytest

from pathology.weak.config import WeakConfig

BATCH = 6 * 32  # tiles of a step by default


@pytest.mark.parametrize(
    ("num", "is_pixels", "epoch_tiles"),
    [
        (300, False, 1024),  # some steps, however few tiles there are
        (3_000, False, 3_000),  # all of them
        (6_000, False, 4096),
        (400_000, False, 250_000),  # thirty epochs pass over each tile nineteen times
        (400_000, True, 32_768),
        (6_000, True, 4096),
    ],
)
def test_an_epoch_grows_with_the_tiles(num: int, is_pixels: bool, epoch_tiles: int) -> None:
    config = WeakConfig().for_tiles(num, is_pixels=is_pixels)
    assert config.epoch_tiles == epoch_tiles
    assert config.steps_per_epoch == round(epoch_tiles / BATCH)


def test_what_is_said_holds_as_far_as_there_are_tiles() -> None:
    said = WeakConfig(epoch_tiles=8192)
    assert said.for_tiles(400_000, is_pixels=False).epoch_tiles == 8192
    assert said.for_tiles(5_000, is_pixels=False).epoch_tiles == 5_000
    assert WeakConfig(epoch_tiles=64).for_tiles(100, is_pixels=True).epoch_tiles == 64
