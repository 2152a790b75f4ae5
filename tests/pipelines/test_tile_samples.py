"""What a path is, and tiles sampled from it: slides, stores, pictures, and those that are bad."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from pathology.core.errors import ArtifactError, ManifestError, SlideError
from pathology.stain.config import StainConfig
from pipelines.flat_pictures import read_picture, squares_of
from pipelines.input_kinds import look_at
from pipelines.stain_styles import list_styles
from pipelines.tile_samples import (
    Sampling,
    SlideTiles,
    iter_samples,
    require_usable,
    sample_slides,
)
from tests.conftest import tissue_pixels, write_pyramid
from tests.stain.synthetic import he_tiles
from tests.stain.test_normalize_store import make_store


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    Image.fromarray(tissue_pixels(300, 200)).save(folder / "a.png")
    Image.fromarray(tissue_pixels(300, 200, seed=1)).save(folder / "b" / "a.jpg", quality=95)
    tifffile.imwrite(folder / "c.tif", tissue_pixels(80, 70), photometric="rgb")
    (folder / "labels.csv").write_text("file,label\na.png,x\n")
    return folder


def test_a_folder_of_pictures(pictures: Path) -> None:
    given = look_at(pictures)
    assert given.kind == "images"
    assert [slide.slide_id for slide in given.slides] == ["a", "b__a", "c"]
    assert given.names == ("a.png", "b/a.png", "c.png")


def test_pictures_of_one_name_keep_their_suffixes(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "c.png"):
        Image.fromarray(tissue_pixels(30, 20)).save(tmp_path / name)
    given = look_at(tmp_path)
    assert given.names == ("a.bmp.png", "a.png.png", "c.png")
    assert [slide.slide_id for slide in given.slides] == ["a.bmp", "a.png", "c"]


def test_what_other_paths_are(pictures: Path, tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    slide = write_pyramid(slides / "s.tif", tissue_pixels(600, 500))
    store = make_store(tmp_path / "run" / "tiles" / "s.zarr", he_tiles(3))
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,slide_path,centre\ns,slides/s.tif,north\nlost,slides/lost.tif,\n")
    listed = tmp_path / "pictures.csv"
    listed.write_text("slide_id,slide_path\nx,pictures/a.png\ny,pictures/lost.png\n")
    found = {path: look_at(path) for path in (slides, slide, store, table, listed)}
    assert [given.kind for given in found.values()] == [
        "manifest", "slide", "store", "manifest", "images"
    ]  # fmt: skip
    assert found[table].slides[0].centre == "north"
    assert found[listed].names == ("a.png", "lost.png")
    assert look_at(tmp_path / "run").stores == (store,)
    assert look_at(pictures / "a.png").kind == "images"
    Image.fromarray(tissue_pixels(30, 20)).save(slides / "overview.png")
    assert look_at(slides).kind == "manifest"


def test_what_is_nothing_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ArtifactError, match=r"no tiles, slides or pictures here\. Give a tiling run"
    ):
        look_at(tmp_path / "empty")
    with pytest.raises(ArtifactError, match="no such file or folder"):
        look_at(tmp_path / "lost")
    run = make_store(tmp_path / "run" / "tiles" / "s.zarr", he_tiles(3)).parent
    with pytest.raises(ArtifactError, match="give the run's folder"):
        look_at(run)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ManifestError, match="no column slide_id"):
        look_at(tmp_path / "bad.csv")


def test_squares_reach_every_edge() -> None:
    pixels = tissue_pixels(600, 300)
    squares = squares_of(pixels, 256)
    assert squares.shape == (6, 256, 256, 3)
    assert (squares[2] == pixels[:256, 344:]).all()
    assert (squares[5] == pixels[44:, 344:]).all()
    small = squares_of(pixels[:100, :60], 256)
    assert small.shape == (1, 256, 256, 3)
    assert (small[0, :100, :60] == pixels[:100, :60]).all()
    assert (small[0, 100:200, :60] == pixels[99::-1, :60]).all()
    assert (small[0, :100, 60:120] == pixels[:100, 59::-1]).all()


def test_pictures_give_squares(pictures: Path) -> None:
    found = {s.slide_id: s for s in sample_slides(pictures, size_px=128, tiles_per_slide=4)}
    assert [len(sample.tiles_NHW3) for sample in found.values()] == [4, 4, 1]
    assert (found["a"].tiles_NHW3[0] == tissue_pixels(300, 200)[:128, :128]).all()
    assert all(sample.mpp is None and not sample.problem for sample in found.values())


def test_bad_pictures_come_back_with_their_reason(pictures: Path) -> None:
    pixels = tissue_pixels(64, 64)
    Image.fromarray(pixels[..., 0]).save(pictures / "grey.png")
    Image.fromarray(pixels[..., 0]).save(pictures / "grey.jpg")
    cv2.imwrite(str(pictures / "deep.png"), pixels.astype(np.uint16) * 257)
    tifffile.imwrite(pictures / "deep.tif", pixels.astype(np.uint16) * 257, photometric="rgb")
    (pictures / "torn.png").write_bytes((pictures / "a.png").read_bytes()[:3000])
    (pictures / "text.png").write_text("no picture")
    samples = sample_slides(pictures, size_px=64, tiles_per_slide=1)
    said = {sample.slide_id: sample.problem for sample in samples}
    assert "grey picture shows no stains" in said["grey.png"]
    assert "grey picture shows no stains" in said["grey.jpg"]
    assert said["deep.png"].startswith("16-bit colours. Give 8-bit RGB")
    assert said["deep.tif"].startswith("16-bit colours. Give 8-bit RGB")
    assert said["torn"] and said["text"]
    assert not (said["a"] or said["b__a"] or said["c"])


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.dstack([tissue_pixels(40, 40), np.full((40, 40), 255, np.uint8)])
    pixels[:20, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_picture("a", tmp_path / "a.png").pixels
    assert (found[:20] == 255).all()
    assert (found[20:] == pixels[20:, :, :3]).all()
    with pytest.raises(SlideError, match="no such file"):
        read_picture("b", tmp_path / "b.png")


def test_slides_give_tissue_at_the_resolution_asked_for(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "s.tif", tissue_pixels(2400, 1800))
    write_pyramid(tmp_path / "glass.tif", np.full((900, 900, 3), 243, np.uint8))
    write_pyramid(tmp_path / "unknown.tif", tissue_pixels(600, 500), mpp=None)
    found = {s.slide_id: s for s in sample_slides(tmp_path, size_px=128, tiles_per_slide=7)}
    sample = found["s"]
    assert sample.tiles_NHW3.shape == (7, 128, 128, 3)
    assert sample.mpp == pytest.approx(0.5)
    assert np.mean(sample.tiles_NHW3.min(axis=3) < 220) > 0.5
    assert found["glass"].problem == "no tissue was found on it"
    assert "--assume-mpp" in found["unknown"].problem
    again = sample_slides(
        tmp_path / "unknown.tif", size_px=64, tiles_per_slide=2, mpp=1.0, assume_mpp=0.5
    )
    assert (len(again[0].tiles_NHW3), again[0].mpp) == (2, 1.0)


def test_stores_give_rows(tmp_path: Path) -> None:
    tiles = he_tiles(9)
    make_store(tmp_path / "run" / "tiles" / "s.zarr", tiles)
    make_store(tmp_path / "run" / "tiles" / "none.zarr", tiles[:0])
    (tmp_path / "run" / "tiles" / "torn.zarr").mkdir()
    (tmp_path / "run" / "process_list.csv").write_text(
        "slide_id,status,reason,centre\n"
        "s,done,,north\nnone,done,,\ntorn,done,,\nold,failed,too coarse,\n"
    )
    make_store(tmp_path / "run" / "tiles" / "old.zarr", tiles)
    make_store(tmp_path / "run" / "tiles" / "gone.zarr", tiles)
    samples = sample_slides(tmp_path / "run", size_px=64, tiles_per_slide=3)
    found = {sample.slide_id: sample for sample in samples}
    sample = found["s"]
    assert sample.rows is not None
    assert (sample.rows.tolist(), sample.centre) == ([0, 4, 8], "north")
    assert (sample.tiles_NHW3 == tiles[[0, 4, 8]]).all()
    assert found["none"].problem == "its store holds no tiles"
    assert "not a tile store" in found["torn"].problem
    assert found["old"].problem == "no tiles. too coarse."
    assert found["gone"].problem.startswith("no tiles. not in the run's table: list it again")
    cut = sample_slides(tmp_path / "run" / "tiles" / "s.zarr", size_px=32, tiles_per_slide=1)
    assert (cut[0].tiles_NHW3[0] == tiles[0, 16:48, 16:48]).all()
    large = sample_slides(tmp_path / "run" / "tiles" / "s.zarr", size_px=128, tiles_per_slide=1)
    assert "64 px where 128 are needed" in large[0].problem
    (row,) = list_styles(tmp_path / "run" / "tiles" / "s.zarr", StainConfig(), 9)
    assert row.num_tiles == 9 and not row.problem  # though a style is usually that of 256 px
    store = tmp_path / "run" / "tiles" / "s.zarr"
    (asked,) = iter_samples(look_at(store), Sampling(128, 1, setting="tile_px"))
    assert "Tile with tile.size_px=128, or set tile_px=64 here" in asked.problem


def test_a_choice_of_slides_is_repeatable(tmp_path: Path) -> None:
    for number in range(9):
        Image.fromarray(tissue_pixels(40, 40, seed=number)).save(tmp_path / f"{number}.png")

    def chosen(seed: int) -> list[str]:
        samples = sample_slides(tmp_path, size_px=32, tiles_per_slide=1, max_slides=4, seed=seed)
        return [sample.slide_id for sample in samples]

    assert chosen(0) == chosen(0)
    assert len({tuple(chosen(seed)) for seed in range(5)}) > 1
    assert all(len(chosen(seed)) == 4 for seed in range(3))


def test_nothing_usable_is_refused_with_the_reasons() -> None:
    bad = SlideTiles("a", "", None, np.zeros((0, 1, 1, 3), np.uint8), problem="it is torn")
    good = SlideTiles("b", "", None, np.zeros((2, 8, 8, 3), np.uint8))
    assert require_usable([bad, good], Path("x")) == [good]
    with pytest.raises(ArtifactError, match=r"x: no tiles .*it is torn"):
        require_usable([bad], Path("x"))


def test_pictures_of_linked_folders_are_seen_once(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "pictures", tmp_path / "elsewhere"
    for number, place in enumerate((folder, elsewhere, folder / ".hidden")):
        place.mkdir()
        Image.fromarray(tissue_pixels(40, 40, seed=number)).save(place / f"{number}.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "up").symlink_to(tmp_path / "pictures")
    assert [record.slide_id for record in look_at(folder).slides] == ["0", "linked__1"]
