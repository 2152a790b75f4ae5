"""Deep Zoom tiles against openslide's generator, and against the slide's own pixels."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from openslide.deepzoom import DeepZoomGenerator

from pathology.core.manifest import SlideRecord
from pathology.slides import jpeg
from pathology.slides.open import open_slide
from pathology.slides.plan import levels_of_sizes, planes
from pathology.viewer.deep_zoom import DeepZoom, plane_for, read_dz_tile, stored_dz_tile
from tests.conftest import psnr, tissue_pixels, write_pyramid

EDGES = st.integers(1, 200_000)


class Sized:
    """As much of a slide as the generator's geometry needs."""

    properties: dict[str, str] = {}  # noqa: RUF012
    level_downsamples = (1.0,)

    def __init__(self, size: tuple[int, int]) -> None:
        self.level_dimensions = (size,)
        self.dimensions = size

    def get_best_level_for_downsample(self, downsample: float) -> int:
        return 0


@settings(max_examples=40, deadline=None)
@given(EDGES, EDGES)
def test_geometry_is_that_of_the_generator(width: int, height: int) -> None:
    zoom = DeepZoom((width, height))
    other = DeepZoomGenerator(Sized((width, height)), 256, 0, limit_bounds=False)  # type: ignore[arg-type]
    assert zoom.max_dz_level == other.level_count - 1
    for dz_level in range(zoom.min_dz_level, other.level_count):
        assert zoom.size(dz_level) == other.level_dimensions[dz_level]
        columns, rows = zoom.grid(dz_level)
        assert (columns, rows) == other.level_tiles[dz_level]
        last = (columns - 1, rows - 1)
        assert zoom.tile_size(dz_level, *last) == other.get_tile_dimensions(dz_level, last)
        assert zoom.has(dz_level, *last)
        assert not zoom.has(dz_level, columns, 0) and not zoom.has(dz_level, 0, rows)
    assert zoom.grid(zoom.min_dz_level) == (1, 1)


def whole(path: Path, dz_level: int) -> NDArray[np.uint8]:
    """All tiles of a level put together."""
    with closing(open_slide(SlideRecord("s", path))) as slide:
        zoom = DeepZoom(slide.levels[0].size)
        columns, rows = zoom.grid(dz_level)
        lines = [
            np.concatenate([read_dz_tile(slide, zoom, dz_level, x, y) for x in range(columns)], 1)
            for y in range(rows)
        ]
    return np.concatenate(lines)


def test_pixels_are_those_of_the_generator(slide_path: Path) -> None:
    with openslide.OpenSlide(slide_path) as other:
        tiles = DeepZoomGenerator(other, 256, 0, limit_bounds=False)
        for dz_level, least in ((11, 60), (10, 30), (9, 60), (8, 30)):  # levels 1 and 4 are stored
            columns, rows = tiles.level_tiles[dz_level]
            lines = [
                np.concatenate(
                    [np.asarray(tiles.get_tile(dz_level, (x, y))) for x in range(columns)], 1
                )
                for y in range(rows)
            ]
            assert psnr(np.concatenate(lines), whole(slide_path, dz_level)) > least


def test_a_photograph_has_the_same_tiles_as_a_slide(tmp_path: Path) -> None:
    pixels = tissue_pixels(1000, 701)
    cv2.imwrite(str(tmp_path / "photo.png"), pixels[..., ::-1])
    assert np.array_equal(whole(tmp_path / "photo.png", 10), pixels)
    assert whole(tmp_path / "photo.png", 8).shape == (176, 250, 3)


def test_levels_between_the_stored_ones_have_no_seams(tmp_path: Path) -> None:
    pixels = tissue_pixels(1536, 1100)
    path = write_pyramid(tmp_path / "thirds.tif", pixels, downsamples=(3,), quality=95)
    shown = whole(path, 9)  # a quarter, which the reader scales from level 0
    size = (shown.shape[1], shown.shape[0])
    assert psnr(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), shown) > 33


def test_stored_streams_are_passed_on_where_they_are_the_tile(slide_path: Path) -> None:
    with closing(open_slide(SlideRecord("s", slide_path))) as slide:
        zoom = DeepZoom(slide.levels[0].size)
        stream = stored_dz_tile(slide, zoom, 9, 1, 0)
        assert stream is not None
        assert np.array_equal(jpeg.decode(stream, (256, 256)), read_dz_tile(slide, zoom, 9, 1, 0))
        assert stored_dz_tile(slide, zoom, 11, 3, 2) is not None
        assert stored_dz_tile(slide, zoom, 10, 0, 0) is None  # between two stored levels
        assert stored_dz_tile(slide, zoom, 9, 1, 1) is None  # the lower edge: not a whole tile


def test_plane_for_takes_the_coarsest_that_is_fine_enough() -> None:
    offered = planes(levels_of_sizes([(4000, 3000), (998, 748)]), 8)
    assert plane_for(offered, 1).step == (1.0, 1.0)
    assert plane_for(offered, 4).reduction == 4  # the stored level is a little coarser than 4
    assert plane_for(offered, 64).step[0] == pytest.approx(32.06, abs=0.01)
