"""Slides kept open: shared, bounded, closed when the last reader is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pathology.core.errors import UnreadableSlide
from pathology.core.manifest import SlideRecord
from pathology.viewer.shelf import Shelf
from pathology.viewer.tile_cache import TileCache


def num_open() -> int:
    """File descriptors of this process that lead to a slide."""
    links = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum(link.endswith(".tif") for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_slides_beyond_the_limit_are_closed_when_nobody_reads_them(
    make_slide: Callable[..., Path],
) -> None:
    records = [SlideRecord(f"s{i}", make_slide(f"s{i}.tif", 300, 300)) for i in range(4)]
    shelf = Shelf(max_open=2)
    before = num_open()
    with shelf.reader(records[0]) as first:
        for record in records[1:]:
            with shelf.reader(record):
                pass
        assert num_open() == before + 2
        assert first.levels[0].size == (300, 300)  # still read: not closed
        with shelf.reader(records[0]) as again:
            assert again is first
    shelf.close()
    assert num_open() == before


def test_many_threads_share_one_reader(make_slide: Callable[..., Path]) -> None:
    record, shelf = SlideRecord("s", make_slide("s.tif", 600, 600)), Shelf()

    def read(number: int) -> int:
        with shelf.reader(record) as reader:
            return id(reader)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(read, range(64)))) == 1
    shelf.close()


def test_a_file_that_comes_back_is_found(make_slide: Callable[..., Path]) -> None:
    path = make_slide("s.tif", 300, 300)
    record, shelf = SlideRecord("s", path), Shelf()
    hidden = path.rename(path.with_suffix(".away"))
    with pytest.raises(UnreadableSlide, match="no such file"), shelf.reader(record):
        pass
    hidden.rename(path)
    with shelf.reader(record) as reader:
        assert reader.levels[0].size == (300, 300)
    shelf.close()


def test_the_cache_keeps_what_was_used_last() -> None:
    cache = TileCache(10)
    for name in "abc":
        cache.put(name, b"1234")
    assert cache.get("a") is None and cache.get("b") == b"1234"
    cache.put("d", b"1234")
    assert cache.get("c") is None and cache.get("b") == b"1234"
    cache.put("b", b"12")
    assert cache.num_bytes == 6
    cache.put("huge", b"12345678901")
    assert cache.get("huge") is None and cache.num_bytes == 6
