"""Features by number: as they are, and one of their variations."""

import copy
from pathlib import Path

import numpy as np

from pathology.data.tile_source import FeatureTiles

ROWS = np.array([5, 0, 5, 3, 2, 1, 4] * 40)


def write(folder: Path, num: int = 6, copies: int = 2) -> FeatureTiles:
    """Tile i has features i, its variation k has i + (k + 1) / 4."""
    plain = np.repeat(np.arange(num, dtype=np.float32)[:, None], 3, axis=1)
    np.save(folder / "f.npy", plain)
    shift = (np.arange(copies, dtype=np.float16) + 1)[None, :, None] / 4
    np.save(folder / "a.npy", plain.astype(np.float16)[:, None] + shift)
    return FeatureTiles(folder / "f.npy", folder / "a.npy")


def test_a_tile_comes_as_it_is_or_varied_each_about_as_often(tmp_path: Path) -> None:
    source = write(tmp_path)
    found = source.draw(ROWS, np.random.default_rng(0))
    assert found.dtype == np.float32
    assert (found == found[:, :1]).all()
    rest = found[:, 0] - ROWS
    values, counts = np.unique(rest, return_counts=True)
    assert values.tolist() == [0, 0.25, 0.5]
    assert counts.min() > 0.2 * len(ROWS)
    assert (source.read(ROWS)[:, 0] == ROWS).all()  # scoring never sees a variation


def test_the_same_random_numbers_draw_the_same_also_in_a_copy(tmp_path: Path) -> None:
    source = write(tmp_path)
    other = copy.deepcopy(source)
    one, two = (s.draw(ROWS, np.random.default_rng([1, 2])) for s in (source, other))
    assert (one == two).all()


def test_without_variations_tiles_come_as_they_are(tmp_path: Path) -> None:
    write(tmp_path)
    source = FeatureTiles(tmp_path / "f.npy")
    assert (source.draw(ROWS, np.random.default_rng(0)) == source.read(ROWS)).all()
