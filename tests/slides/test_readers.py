"""Readers against OpenSlide and against pixels we know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pathology.core.errors import SlideError, UnreadableSlide
from pathology.core.geometry import TileSpec
from pathology.core.manifest import SlideRecord
from pathology.slides.flat_reader import FlatReader, rgb8
from pathology.slides.open import open_slide
from pathology.slides.openslide_reader import OpenSlideReader
from pathology.slides.plan import plan_tiles
from pathology.slides.reader import SlideReader, read_thumbnail, read_tiles
from pathology.slides.resolution import decide_spacing
from pathology.slides.tiff_reader import TiffReader
from tests.conftest import psnr, tissue_pixels, write_dicom, write_pyramid

CORNERS = np.array([[512, 512], [768, 640], [1024, 256]])


def opened(path: Path) -> SlideReader:
    return open_slide(SlideRecord("s", path))


def tiles(slide: SlideReader, spec: TileSpec, l0_xy: NDArray[np.int64]) -> NDArray[np.uint8]:
    spacing = decide_spacing("s", None, slide.facts.spacings, None)
    return read_tiles(
        slide, l0_xy, plan_tiles("s", slide.levels, slide.max_reduction, spacing.mpp, spec)
    )


def area_averages(path: Path, spec: TileSpec, l0_xy: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The same tiles from level-0 pixels through OpenSlide, averaged over areas."""
    reference = OpenSlideReader("s", path)
    plan = plan_tiles("s", reference.levels[:1], 1, (0.25, 0.25), spec)
    found = []
    for x, y in l0_xy.tolist():
        full = np.asarray(reference._slide.read_region((x, y), 0, plan.l0_size))[..., :3]
        found.append(cv2.resize(full, (spec.size_px,) * 2, interpolation=cv2.INTER_AREA))
    return np.stack(found)


def test_tiled_jpeg_is_read_directly(slide_path: Path) -> None:
    assert isinstance(opened(slide_path), TiffReader)


def test_level_0_pixels_are_openslides_own(slide_path: Path) -> None:
    spec = TileSpec(size_px=200, mpp=0.25)
    for l0_xy in (CORNERS, np.array([[3, 7], [1848, 1336]])):
        ours = tiles(opened(slide_path), spec, l0_xy)
        assert np.array_equal(ours, area_averages(slide_path, spec, l0_xy))


@pytest.mark.parametrize("mpp", [0.5, 0.61, 0.3, 2.0])
def test_scaled_tiles_agree_with_area_averages(slide_path: Path, mpp: float) -> None:
    spec = TileSpec(size_px=64, mpp=mpp)
    slide = opened(slide_path)
    ours = tiles(slide, spec, CORNERS)
    plan = plan_tiles("s", slide.levels, slide.max_reduction, (0.25, 0.25), spec)
    exact = TileSpec(size_px=64, mpp=plan.achieved_mpp[0])
    assert psnr(ours, area_averages(slide_path, exact, CORNERS)) >= 36


def test_a_reader_gives_the_same_tiles_alone_and_in_a_block(slide_path: Path) -> None:
    slide, spec = opened(slide_path), TileSpec(size_px=100, mpp=0.3)
    together = tiles(slide, spec, CORNERS)
    alone = np.concatenate([tiles(slide, spec, CORNERS[i : i + 1]) for i in range(len(CORNERS))])
    backwards = tiles(slide, spec, CORNERS[::-1])[::-1]
    assert np.array_equal(together, alone)
    assert np.array_equal(together, backwards)


def test_stored_streams_are_given_where_the_grids_line_up(slide_path: Path) -> None:
    slide = opened(slide_path)
    aligned = plan_tiles("s", slide.levels, 8, (0.25, 0.25), TileSpec(size_px=256, mpp=0.25))
    streams = slide.stored_jpegs(np.array([[512, 512]]), aligned)
    assert streams is not None
    assert streams[0].startswith(b"\xff\xd8")
    assert slide.stored_jpegs(np.array([[500, 512]]), aligned) is None
    halved = plan_tiles("s", slide.levels, 8, (0.25, 0.25), TileSpec(size_px=256, mpp=0.5))
    assert slide.stored_jpegs(np.array([[512, 512]]), halved) is None


def test_what_is_no_stream_is_not_given_and_reading_says_so(
    slide_path: Path, tmp_path: Path
) -> None:
    data = bytearray(slide_path.read_bytes())
    with tifffile.TiffFile(slide_path) as tiff:
        data[tiff.pages.first.dataoffsets[2 * 8 + 2]] ^= 1  # of the tile at (512, 512)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(bytes(data))
    for mpp, corner in ((0.25, (512, 512)), (0.5, (0, 0))):
        slide, spec = opened(broken), TileSpec(size_px=256 if mpp == 0.25 else 512, mpp=mpp)
        plan = plan_tiles("s", slide.levels, 8, (0.25, 0.25), spec)
        l0_xy = np.array([corner])
        assert slide.stored_jpegs(l0_xy, plan) is None
        halved = slide.iter_halved(l0_xy, plan, 90)
        assert halved is None or list(halved) == [None]
        with pytest.raises(UnreadableSlide, match="column 2, row 2 of level 0 is damaged"):
            tiles(slide, spec, l0_xy)


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("tile", [256, 240])
def test_jpeg_dialects_agree_with_openslide(tmp_path: Path, photometric: str, tile: int) -> None:
    pixels = tissue_pixels(1200, 960)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pixels,
        tile=(tile, tile),
        compression="jpeg",
        compressionargs={"level": 90, "outcolorspace": photometric},
        photometric="rgb",
        resolution=(40000, 40000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    spec = TileSpec(size_px=256, mpp=0.25)
    l0_xy = np.array([[300, 300], [0, 0], [944, 704]])
    assert np.array_equal(tiles(opened(path), spec, l0_xy), area_averages(path, spec, l0_xy))


def test_thumbnails_show_the_whole_slide(slide_path: Path) -> None:
    slide = opened(slide_path)
    small = read_thumbnail(slide, (0.25, 0.25), 4.0)
    assert small.shape == (96, 128, 3)
    expected = cv2.resize(tissue_pixels(2048, 1536), (128, 96), interpolation=cv2.INTER_AREA)
    assert psnr(small, expected) > 33


def test_thumbnails_read_in_strips_are_the_same(
    slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_thumbnail(opened(slide_path), (0.25, 0.25), 1.0)
    monkeypatch.setattr("pathology.slides.reader.STRIP_PX", 20_000)
    assert np.array_equal(read_thumbnail(opened(slide_path), (0.25, 0.25), 1.0), whole)


def test_pieces_read_through_openslide_are_the_same(
    slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = OpenSlideReader("s", slide_path)
    plane = plan_tiles("s", slide.levels, 64, (0.25, 0.25), TileSpec(mpp=0.5)).plane
    whole = slide.read_plane(plane, (10, 20), (500, 400))
    monkeypatch.setattr("pathology.slides.openslide_reader.STRIP_PX", 5_000)
    assert np.array_equal(slide.read_plane(plane, (10, 20), (500, 400)), whole)


def test_a_dicom_slide_is_a_folder_or_a_file(tmp_path: Path) -> None:
    pixels = tissue_pixels(1500, 1100)
    folder = write_dicom(tmp_path / "series", pixels, 0.25)
    for path in (folder, folder / "0.dcm", folder / "1.dcm"):
        slide = opened(path)
        assert slide.facts.vendor == "dicom"
        assert slide.levels[0].size == (1500, 1100)
        (tile,) = tiles(slide, TileSpec(size_px=256, mpp=0.25), np.array([[500, 400]]))
        assert psnr(tile, pixels[400:656, 500:756]) > 33


def test_an_ome_tiff_with_its_pyramid_in_subifds(tmp_path: Path) -> None:
    pixels = tissue_pixels(1024, 768)
    path = tmp_path / "a.ome.tif"
    options = {"tile": (256, 256), "compression": "deflate", "photometric": "rgb"}
    metadata = {"PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3, "PhysicalSizeXUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(pixels, subifds=1, metadata=metadata, **options)
        tiff.write(pixels[::2, ::2], subfiletype=1, **options)
    slide = opened(path)
    assert slide.facts.spacings[0].mpp == (0.3, 0.3)
    spec = TileSpec(size_px=128, mpp=0.3)
    assert np.array_equal(tiles(slide, spec, np.array([[130, 77]]))[0], pixels[77:205, 130:258])
    assert [level.size for level in slide.levels][:2] in ([(1024, 768), (512, 384)],)


@pytest.mark.parametrize("compression", ["deflate", "lzw", None])
def test_tiled_tiff_without_jpeg(make_slide: Callable[..., Path], compression: str | None) -> None:
    path = make_slide(compression=compression, mpp=0.5)
    slide = opened(path)
    (tile,) = tiles(slide, TileSpec(size_px=256, mpp=0.5), np.array([[100, 50]]))
    assert np.array_equal(tile, tissue_pixels(1024, 768)[50:306, 100:356])


def test_non_square_pixels(tmp_path: Path) -> None:
    pixels = cv2.resize(tissue_pixels(1024, 768), (1024, 384), interpolation=cv2.INTER_AREA)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels, tile=(256, 256), compression="jpeg", compressionargs={"level": 95},
        photometric="rgb", resolution=(40000, 20000), resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    slide = opened(path)
    assert slide.facts.spacings[0].mpp == pytest.approx((0.25, 0.5))
    (tile,) = tiles(slide, TileSpec(size_px=256, mpp=0.5), np.array([[256, 128]]))
    square = cv2.resize(tissue_pixels(1024, 768), (512, 384), interpolation=cv2.INTER_AREA)
    assert psnr(tile, square[128:384, 128:384]) > 30


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_flat_images(tmp_path: Path, name: str) -> None:
    pixels = tissue_pixels(640, 480)
    Image.fromarray(pixels).save(tmp_path / name, quality=97)
    slide = opened(tmp_path / name)
    assert isinstance(slide, FlatReader)
    plan = plan_tiles(
        "s", slide.levels, slide.max_reduction, (0.5, 0.5), TileSpec(size_px=64, mpp=1.0)
    )
    (tile,) = read_tiles(slide, np.array([[200, 100]]), plan)
    expected = cv2.resize(pixels[100:228, 200:328], (64, 64), interpolation=cv2.INTER_AREA)
    assert psnr(tile, expected) > 35


def test_a_png_may_carry_its_resolution(tmp_path: Path) -> None:
    Image.fromarray(tissue_pixels(64, 64)).save(tmp_path / "a.png", dpi=(50800, 50800))
    (spacing,) = opened(tmp_path / "a.png").facts.spacings
    assert spacing.mpp == pytest.approx((0.5, 0.5), rel=1e-3)


def test_any_pixel_type_becomes_rgb() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert rgb8(grey).shape == (16, 16, 3)
    assert np.array_equal(rgb8(grey.astype(np.uint16) << 8)[..., 0], grey)
    assert np.array_equal(rgb8(grey.astype(np.uint16))[..., 1], grey)
    rgba = np.dstack([np.full((2, 2, 3), 100, np.uint8), np.array([[255, 0], [255, 0]], np.uint8)])
    assert rgb8(rgba)[0].tolist() == [[100, 100, 100], [255, 255, 255]]
    assert rgb8(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]
    for bad in (
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((0, 2), np.uint8),
    ):
        with pytest.raises(ValueError, match=r"pixels|shape"):
            rgb8(bad)


def test_a_missing_an_empty_and_a_wrong_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "text.svs").write_text("not a slide", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.ome.zarr").mkdir()
    for name, said in {
        "a.ome.zarr": "OME-Zarr is not read",
        "none.svs": "no such file",
        "empty.svs": "is empty",
        "text.svs": "recognizes it",
        "folder": "without DICOM",
    }.items():
        with pytest.raises(UnreadableSlide, match=said):
            opened(tmp_path / name)


def test_a_file_cut_short_is_an_error_where_it_is_cut(slide_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    write_pyramid(path, tissue_pixels(1024, 768))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
    with path.open("r+b") as stream:
        stream.seek(page.dataoffsets[5] + page.databytecounts[5] // 2)
        stream.write(b"\0" * 400)
    slide = TiffReader("s", path)
    l0_xy = np.array([[256, 256]])
    plan = plan_tiles("s", slide.levels, 8, (0.25, 0.25), TileSpec(size_px=256, mpp=0.25))
    with pytest.raises(SlideError, match="column 1, row 1 of level 0 is damaged"):
        read_tiles(slide, l0_xy, plan)


@pytest.mark.real_data
def test_a_real_aperio_slide_agrees_with_openslide(data_folder: Path) -> None:
    path = data_folder / "slides/CMU-1-Small-Region.svs"
    slide = opened(path)
    assert isinstance(slide, TiffReader)
    assert slide.facts.spacings[0].mpp == (0.499, 0.499)
    l0_xy = np.array([[300, 300], [1000, 2000], [1964, 2711]])
    spec = TileSpec(size_px=256, mpp=0.499)
    assert np.array_equal(
        tiles(slide, spec, l0_xy), area_averages(path, TileSpec(size_px=256, mpp=0.25), l0_xy)
    )


@pytest.mark.real_data
def test_a_real_jpeg_2000_slide_states_no_resolution(data_folder: Path) -> None:
    slide = opened(data_folder / "slides/TCGA-CR-7395-01A-01-TS1.svs")
    assert isinstance(slide, OpenSlideReader)
    assert slide.facts.spacings == ()
    assert slide.levels[1].downsample == (2.0, 2.0)
