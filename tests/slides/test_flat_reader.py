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
