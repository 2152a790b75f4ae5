"""Maps that are kept: made once, the same ever after, and not needed where there is no room."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pathology.models import kept_maps
from pathology.models.kept_maps import KeptMaps

BLOCKS = {0: [torch.rand(3, 4, 2, 2), torch.rand(1, 4, 2, 2)], 7: [torch.rand(2, 4, 2, 2)], 9: []}


class Maker:
    """Gives the blocks of a group and counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, group: int) -> Iterator[Tensor]:
        self.asked += 1
        yield from BLOCKS[group]


def seen(kept: KeptMaps, maker: Maker) -> None:
    for group, blocks in BLOCKS.items():
        found = list(kept(group, lambda group=group: maker(group)))  # type: ignore[misc]
        assert len(found) == len(blocks)
        assert all(torch.equal(one, other) for one, other in zip(found, blocks, strict=True))


def test_maps_are_made_once(tmp_path: Path) -> None:
    kept, maker = KeptMaps(tmp_path, 6), Maker()
    for _ in range(3):
        seen(kept, maker)
    assert maker.asked == len(BLOCKS)
    assert not list(tmp_path.iterdir()), "a kill would leave a file"


def test_a_group_that_was_not_seen_to_its_end_is_made_anew(tmp_path: Path) -> None:
    kept, maker = KeptMaps(tmp_path, 6), Maker()
    next(iter(kept(0, lambda: maker(0))))
    seen(kept, maker)
    seen(kept, maker)
    assert maker.asked == 1 + len(BLOCKS)


def test_without_room_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_maps, "SHARE", 0.0)
    kept, maker = KeptMaps(tmp_path, 6), Maker()
    for _ in range(2):
        seen(kept, maker)
    assert maker.asked == 2 * len(BLOCKS)
    assert kept.file == -1, "a file was opened for nothing"


def test_a_disk_that_is_full_costs_time_and_no_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, maker = KeptMaps(tmp_path, 6), Maker()
    assert len(list(kept(7, lambda: maker(7)))) == 1

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(2):
        seen(kept, maker)
    assert maker.asked == 1 + 2 * (len(BLOCKS) - 1), "what was kept before is kept"
