"""Pyramidal OME-TIFF as other programs see it: OpenSlide, tifffile, and our own readers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from pathology.core.manifest import SlideRecord
from pathology.slides.ome_writer import (
    OME,
    OmeFacts,
    PyramidConfig,
    StoredLevel,
    encode_tiles,
    level_sizes,
    ome_xml,
    stored_fingerprint,
    write_ome,
)
from pathology.slides.open import open_slide
from pathology.slides.plan import planes
from pathology.slides.reader import shrink
from tests.conftest import psnr, tissue_pixels

FACTS = OmeFacts("slide <1> é", (0.25, 0.26), notes={"fingerprint": "12e456789012", "style": "H&E"})


def write(path: Path, pixels: np.ndarray, config: PyramidConfig, facts: OmeFacts = FACTS) -> Path:
    levels, level = [], pixels
    for size in level_sizes((pixels.shape[1], pixels.shape[0]), config.tile_px):
        assert (level.shape[1], level.shape[0]) == size
        levels.append(StoredLevel(size, encode_tiles(level, config)))
        level = shrink(level, 4)
    write_ome(path, levels, config, facts)
    return path


@pytest.fixture(params=["420", "422", "444"])
def config(request: pytest.FixtureRequest) -> PyramidConfig:
    return PyramidConfig(subsampling=request.param, jpeg_quality=92)


@pytest.fixture
def pixels() -> np.ndarray:
    return tissue_pixels(1500, 1101)


def test_sizes_end_with_one_tile() -> None:
    assert level_sizes((1025, 3), 256) == [(1025, 3), (257, 1), (65, 1)]
    assert level_sizes((256, 256), 256) == [(256, 256)]
    assert level_sizes((1, 1), 64) == [(1, 1)]


def test_openslide_sees_every_level(
    tmp_path: Path, pixels: np.ndarray, config: PyramidConfig
) -> None:
    with openslide.OpenSlide(write(tmp_path / "a.ome.tiff", pixels, config)) as slide:
        assert slide.level_dimensions == ((1500, 1101), (375, 276), (94, 69))
        assert slide.level_downsamples == pytest.approx((1, 4, 16), rel=0.01)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.26)
        level = pixels
        for number, size in enumerate(slide.level_dimensions):
            seen = np.asarray(slide.read_region((0, 0), number, size).convert("RGB"))
            assert psnr(level, seen) > 30
            level = shrink(level, 4)


def test_tifffile_sees_one_image_with_levels(
    tmp_path: Path, pixels: np.ndarray, config: PyramidConfig
) -> None:
    with tifffile.TiffFile(write(tmp_path / "a.ome.tiff", pixels, config)) as tiff:
        assert tiff.is_ome
        assert tiff.is_bigtiff
        assert len(tiff.series) == 1
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [(1101, 1500, 3), (276, 375, 3), (69, 94, 3)]
        assert psnr(pixels, levels[0].asarray()) > 33
        assert psnr(shrink(pixels, 4), levels[1].asarray()) > 33
        assert [page.offset for page in tiff.pages] == [
            tiff.pages.first.offset, *tiff.pages.first.subifds
        ]  # fmt: skip


def test_the_xml_says_size_spacing_and_notes(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write(tmp_path / "a.ome.tiff", pixels, PyramidConfig())
    with tifffile.TiffFile(path) as tiff:
        root = ET.fromstring(tiff.ome_metadata)  # noqa: S314  our own
    space = {"o": OME}
    said = root.find("o:Image/o:Pixels", space)
    assert said is not None
    assert (said.get("SizeX"), said.get("SizeY"), said.get("SizeC")) == ("1500", "1101", "3")
    assert (said.get("PhysicalSizeX"), said.get("PhysicalSizeXUnit")) == ("0.25", "µm")
    assert (said.get("PhysicalSizeY"), said.get("PhysicalSizeYUnit")) == ("0.26", "µm")
    image = root.find("o:Image", space)
    assert image is not None
    assert image.get("Name") == "slide <1> é"
    notes = {m.get("K"): m.text for m in root.iterfind(".//o:M", space)}
    assert notes == {"fingerprint": "12e456789012", "style": "H&E"}
    assert "Research use only" in root.findtext("o:Image/o:Description", "", space)


def test_no_character_is_written_as_a_number() -> None:
    """Bio-Formats drops their ampersands, finds no unit of that name, and sees no OME-TIFF."""
    text = ome_xml((15, 11), FACTS)
    assert b"&#" not in text
    assert 'PhysicalSizeXUnit="µm"'.encode() in text
    assert "slide &lt;1&gt; é".encode() in text


def test_our_reader_takes_it_for_a_slide(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write(tmp_path / "a.ome.tiff", pixels, PyramidConfig(subsampling="444"))
    with closing(open_slide(SlideRecord("a", path))) as slide:
        assert [level.downsample for level in slide.levels] == [(1, 1), (4, 4), (16, 16)]
        assert slide.facts.spacings[0].mpp == pytest.approx((0.25, 0.26))
        plane = planes(slide.levels, 1)[0]
        assert psnr(pixels[300:500, 700:1000], slide.read_plane(plane, (700, 300), (300, 200))) > 33


def test_an_edge_tile_is_filled_with_its_edge(tmp_path: Path) -> None:
    """White or black beyond the edge would ring into the picture."""
    pixels = np.full((70, 70, 3), (150, 90, 160), np.uint8)
    config = PyramidConfig(tile_px=64)
    with tifffile.TiffFile(write(tmp_path / "a.ome.tiff", pixels, config)) as tiff:
        assert np.abs(tiff.pages.first.asarray().astype(int) - pixels).max() <= 2


def test_the_fingerprint_is_found_again(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write(tmp_path / "a.ome.tiff", pixels, PyramidConfig())
    assert stored_fingerprint(path) == "12e456789012"
    assert stored_fingerprint(tmp_path / "none.tiff") is None
    path.write_bytes(path.read_bytes()[:100])
    assert stored_fingerprint(path) is None
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, cv2.resize(pixels, (32, 32)))
    assert stored_fingerprint(other) is None


@pytest.mark.parametrize("num", [3, 5])
def test_a_wrong_number_of_tiles_is_refused(tmp_path: Path, num: int) -> None:
    config = PyramidConfig(tile_px=64)
    tiles = list(encode_tiles(np.zeros((64, 64 * num, 3), np.uint8), config))
    with pytest.raises(ValueError, match="a level of 4 tiles was given"):
        write_ome(tmp_path / "a.tiff", [StoredLevel((128, 128), tiles)], config, FACTS)
