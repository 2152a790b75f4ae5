"""Flat pictures: which way up they stand, and what their samples mean."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from pathology.core.errors import UnreadableSlide
from pathology.slides.flat_reader import FlatReader
from pathology.slides.plan import Plane
from tests.conftest import tissue_pixels


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_photographs_stand_upright(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation  # 0 and 9 mean nothing
    pixels = tissue_pixels(96, 64, seed=2)
    Image.fromarray(pixels).save(tmp_path / name, exif=exif, quality=95)
    with Image.open(tmp_path / name) as image:
        shown = np.asarray(ImageOps.exif_transpose(image.convert("RGB"))).astype(int)
    slide = FlatReader("a", tmp_path / name)
    size = slide.levels[0].size
    assert size == shown.shape[1::-1]
    found = slide.read_plane(Plane(0, 1, size, (1.0, 1.0)), (0, 0), size).astype(int)
    assert np.abs(found - shown).max() <= 8  # another JPEG decoder


@pytest.mark.parametrize(("said", "is_alpha"), [("unspecified", False), ("unassalpha", True)])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_fourth_sample_may_be_no_alpha(
    tmp_path: Path, said: str, is_alpha: bool, planes: str
) -> None:
    pixels = np.dstack([tissue_pixels(96, 64, seed=2), np.zeros((64, 96), np.uint8)])
    values = np.moveaxis(pixels, 2, 0) if planes == "separate" else pixels
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="rgb", planarconfig=planes, extrasamples=[said]
    )
    slide = FlatReader("a", tmp_path / "a.tif")
    size = slide.levels[0].size
    found = slide.read_plane(Plane(0, 1, size, (1.0, 1.0)), (0, 0), size)
    assert np.array_equal(found, np.full_like(found, 255) if is_alpha else pixels[..., :3])


def test_a_picture_too_large_to_hold_says_what_to_do(tmp_path: Path) -> None:
    """And not that it should be saved again, or that it is an attack."""
    path = tmp_path / "a.png"
    Image.new("1", (20_000, 15_000)).save(path)
    with pytest.raises(UnreadableSlide, match=r"20000x15000 px is too large.* Convert it to a til"):
        FlatReader("a", path)


def test_an_error_without_words_has_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0garbage")
    with pytest.raises(UnreadableSlide, match=r"cannot be decoded \(\w+: \w+\)"):
        FlatReader("a", path)


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("is_grey", [False, True])
def test_flat_tiffs_stand_upright(tmp_path: Path, is_grey: bool, orientation: int) -> None:
    pixels = tissue_pixels(96, 64, seed=2)
    stored = pixels[..., 0] if is_grey else pixels
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="minisblack" if is_grey else "rgb",
        resolution=(20_000, 10_000),  # 0.5 and 1 um
        resolutionunit="CENTIMETER",
        extratags=[(274, 3, 1, orientation, True)],
    )
    slide, wanted = FlatReader("a", tmp_path / "a.tif"), FlatReader("a", tmp_path / "a.png")
    size = slide.levels[0].size
    assert size == wanted.levels[0].size
    plane = Plane(0, 1, size, (1.0, 1.0))
    found, shown = (each.read_plane(plane, (0, 0), size) for each in (slide, wanted))
    assert np.array_equal(found, shown[..., :1].repeat(3, axis=2) if is_grey else shown)
    mpp = (1.0, 0.5) if 5 <= orientation <= 8 else (0.5, 1.0)
    assert slide.facts.spacings[0].mpp == pytest.approx(mpp)


def test_deep_grey_keeps_its_shades(tmp_path: Path) -> None:
    grey = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 10
    (tmp_path / "a.pgm").write_bytes(b"P5 96 64 65535\n" + grey.astype(">u2").tobytes())
    slide = FlatReader("a", tmp_path / "a.pgm")
    found = slide.read_plane(Plane(0, 1, (96, 64), (1.0, 1.0)), (0, 0), (96, 64))
    assert np.array_equal(found[..., 0], grey >> 8)


@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize(
    "xy", [(-7, -5), (-7, 3), (3, -5), (20, 10), (0, 0), (-300, 0), (0, 300), (97, 2), (300, 300)]
)
def test_outside_the_picture_is_white(tmp_path: Path, xy: tuple[int, int], reduction: int) -> None:
    pixels = tissue_pixels(97, 65, seed=2)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    slide = FlatReader("a", tmp_path / "a.png")
    size = (-(-97 // reduction), -(-65 // reduction))
    plane = Plane(0, reduction, size, (float(reduction),) * 2)
    around = np.full((1000, 1000, 3), 255, np.uint8)
    whole = slide.read_plane(plane, (0, 0), size)
    around[400 : 400 + size[1], 400 : 400 + size[0]] = whole
    x, y = xy[0] + 400, xy[1] + 400
    assert np.array_equal(slide.read_plane(plane, xy, (50, 40)), around[y : y + 40, x : x + 50])
