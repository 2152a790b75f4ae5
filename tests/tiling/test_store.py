"""Tile stores: written by us, read by zarr itself, and trusted only when whole."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.tiling.config import StoreConfig, TilingConfig
from pathology.tiling.shard import index_bytes, parse_index, shard_index
from pathology.tiling.store import TileWriter, encode_tile, open_tiles, read_attributes
from pathology.tiling.zarr_text import write_column
from tests.conftest import psnr, tissue_pixels


def tiles(num: int, edge: int = 64) -> NDArray[np.uint8]:
    image = tissue_pixels(edge * num, edge, seed=3)
    return np.stack(np.split(image, num, axis=1))


def written(path: Path, pixels: NDArray[np.uint8], config: StoreConfig) -> Path:
    writer = TileWriter(path, pixels.shape[1], config)
    path.mkdir()
    for part in np.array_split(np.arange(len(pixels)), 3):
        writer.add([encode_tile(pixels[i], config) for i in part])
    writer.flush()
    columns = {
        "l0_xy": np.arange(2 * len(pixels), dtype=np.int64).reshape(-1, 2),
        "sharpness": np.linspace(0, 1, len(pixels), dtype=np.float32),
    }
    settings = TilingConfig(store=config).model_dump(mode="json")
    writer.finish(columns, {"config": settings, "fingerprint": "f"}, has_pixels=True)
    return path


def test_a_damaged_column_is_named_and_one_that_was_added_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "s.zarr", tiles(3), StoreConfig())
    write_column(path / "stain_matrix", np.zeros((3, 2, 3), np.float32))
    (path / "stain_matrix" / "zarr.json").write_text("{")
    assert open_tiles(path).columns.keys() == {"l0_xy", "sharpness"}
    (path / "sharpness" / "c" / "0").write_bytes(b"12345")
    with pytest.raises(ArtifactError, match=r"s\.zarr: sharpness is damaged .*tile the"):
        open_tiles(path)


@pytest.mark.parametrize("encoding", ["jpeg", "lossless"])
@pytest.mark.parametrize("num", [1, 7, 8, 19])
def test_zarr_reads_what_we_write(tmp_path: Path, encoding: str, num: int) -> None:
    pixels = tiles(num)
    config = StoreConfig(encoding=encoding, tiles_per_shard=4)
    store = open_tiles(written(tmp_path / "s.zarr", pixels, config))
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    assert np.array_equal(group["pixels"][:], store.read(slice(None)))
    assert np.array_equal(group["l0_xy"][:], store.l0_xy)
    assert np.array_equal(group["sharpness"][:], store.columns["sharpness"])
    assert group["sharpness"].dtype == np.float32
    assert group["pixels"].shape == (num, 64, 64, 3)
    assert group.attrs["complete"] is True
    if encoding == "lossless":
        assert np.array_equal(store.read(slice(None)), pixels)
    else:
        assert psnr(store.read(slice(None)), pixels) > 38


def test_zarr_alone_reads_a_store_in_a_fresh_process(tmp_path: Path) -> None:
    path = written(tmp_path / "s.zarr", tiles(5), StoreConfig(tiles_per_shard=4))
    program = f"import zarr; print(zarr.open({str(path)!r}, mode='r')['pixels'][4].mean())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(open_tiles(path).read([4]).mean())


def test_zarr_writes_what_our_codec_encodes(tmp_path: Path) -> None:
    pixels = tiles(3)
    path = written(tmp_path / "s.zarr", pixels, StoreConfig(tiles_per_shard=4))
    array = zarr.open_group(path, mode="r+")["pixels"]
    before = array[:]
    array[1] = before[0]
    assert psnr(array[1], before[0]) > 40
    assert np.array_equal(array[2], before[2])


def test_rows_in_any_order(tmp_path: Path) -> None:
    config = StoreConfig(encoding="lossless", tiles_per_shard=4)
    pixels = tiles(9)
    store = open_tiles(written(tmp_path / "s.zarr", pixels, config))
    assert np.array_equal(store.read([8, 0, 3, 3]), pixels[[8, 0, 3, 3]])
    assert np.array_equal(store.read(slice(2, 5)), pixels[2:5])
    with pytest.raises(IndexError, match="tile 9 of 9"):
        store.read([9])


def test_a_store_may_hold_no_tile(tmp_path: Path) -> None:
    writer = TileWriter(tmp_path / "s.zarr", 64, StoreConfig())
    (tmp_path / "s.zarr").mkdir()
    writer.flush()
    settings = TilingConfig().model_dump(mode="json")
    none = {"l0_xy": np.zeros((0, 2), np.int64), "sharpness": np.zeros(0, np.float32)}
    writer.finish(none, {"config": settings}, has_pixels=True)
    store = open_tiles(tmp_path / "s.zarr")
    assert (len(store), store.read(slice(None)).shape) == (0, (0, 64, 64, 3))
    assert zarr.open_group(tmp_path / "s.zarr", mode="r")["pixels"].shape == (0, 64, 64, 3)


def test_a_store_crosses_to_another_process(tmp_path: Path) -> None:
    store = open_tiles(written(tmp_path / "s.zarr", tiles(5), StoreConfig()))
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301  our own bytes
    assert np.array_equal(copy.read([2]), store.read([2]))


@pytest.mark.parametrize("harm", ["no file", "cut", "no attributes", "incomplete", "schema"])
def test_a_store_that_is_not_whole_is_refused(tmp_path: Path, harm: str) -> None:
    path = written(tmp_path / "s.zarr", tiles(5), StoreConfig(tiles_per_shard=4))
    shard, said = path / "pixels/c/1/0/0/0", path / "zarr.json"
    document = json.loads(said.read_text(encoding="utf-8"))
    if harm == "no file":
        shard.unlink()
    elif harm == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif harm == "no attributes":
        said.unlink()
    else:
        document["attributes"] |= {"incomplete": {"complete": False}, "schema": {"schema": 0}}[harm]
        said.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ArtifactError):
        read_attributes(path)


def test_a_damaged_index_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "s.zarr", tiles(4), StoreConfig(tiles_per_shard=4))
    shard = path / "pixels/c/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[-10] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="index of a shard is damaged"):
        open_tiles(path).read([0])


def test_shards_say_where_their_chunks_lie() -> None:
    chunks = [b"one", b"", b"three"]
    shard = b"".join(chunks) + shard_index([len(chunk) for chunk in chunks], 4)
    index = parse_index(shard[-index_bytes(4) :], 4)
    assert index[:3].tolist() == [[0, 3], [3, 0], [3, 5]]
    assert index[3, 0] == 2**64 - 1
    assert [shard[o : o + n] for o, n in index[:3].tolist()] == chunks
