from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.errors import ArtifactError
from pathology.interop.pictures import export_pictures
from pathology.tiling.store import TileStore, open_tiles

MakeStore = Callable[..., TileStore]


def test_jpeg_tiles_are_written_byte_for_byte(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    folder = export_pictures(store, "slide_1", tmp_path / "out")
    assert folder == tmp_path / "out/jpg/slide_1"
    assert len(list(folder.iterdir())) == 5
    for row, (x, y) in enumerate(store.l0_xy.tolist()):
        assert (folder / f"slide_1_{x}_{y}.jpg").read_bytes() == store.encoded(row)


@pytest.mark.parametrize("encoding", ["jpeg", "lossless"])
def test_png_holds_the_tile_exactly(make_store: MakeStore, tmp_path: Path, encoding: str) -> None:
    store = make_store(encoding=encoding)
    folder = export_pictures(store, "slide_1", tmp_path / "out", "png")
    x, y = store.l0_xy[3].tolist()
    picture = cv2.imread(str(folder / f"slide_1_{x}_{y}.png"))
    assert picture is not None
    assert np.array_equal(picture[..., ::-1], store.read([3])[0])


def test_lossless_tiles_become_jpeg(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(encoding="lossless")
    folder = export_pictures(store, "slide_1", tmp_path / "out")
    for path in folder.iterdir():
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.shape == (64, 64, 3)


def test_coordinates_alone_give_no_pictures(make_store: MakeStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="coordinates only"):
        export_pictures(make_store(has_pixels=False), "slide_1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_tile_leaves_no_folder(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(encoding="lossless")
    shard = store.path / "pixels/c/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[:64] = bytes(64)
    shard.write_bytes(data)
    with pytest.raises(ArtifactError, match="tile 0 is damaged"):
        export_pictures(open_tiles(store.path), "slide_1", tmp_path / "out")
    assert list((tmp_path / "out/jpg").iterdir()) == []


def test_a_folder_that_holds_something_else_is_not_replaced(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store()
    folder = export_pictures(store, "slide_1", tmp_path)
    assert export_pictures(store, "slide_1", tmp_path) == folder
    (folder / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(ArtifactError, match=r"mine\.jpg lies there and would be lost"):
        export_pictures(store, "slide_1", tmp_path)
    assert (folder / "mine.jpg").read_bytes() == b"mine"
