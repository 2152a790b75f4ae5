"""Windows of a network that looks around and halves its images: the same as the whole at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from pathology.core.manifest import SlideRecord
from pathology.slides.ome_writer import PyramidConfig
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import GeneratorConfig
from pathology.stain.learned_normalizer import NetworkNormalizer
from pathology.stain.matrix import Pixels
from pathology.stain.networks import StyleGenerator
from pipelines import stain_bands
from pipelines.stain_recipe import Recipe
from pipelines.stain_slide import SlideJob, stain_slide
from pipelines.stain_tiles import WHOLE_NETWORK_PX, render_picture
from pipelines.stain_windows import Box, boxes, render_inner, surroundings
from tests.conftest import write_pyramid
from tests.pipelines.stain_blur import Model
from tests.stain.synthetic import he_tiles

WIDTH, HEIGHT = 1290, 587  # three windows by two, of whole and odd sizes
HALVINGS = pytest.mark.parametrize("halvings", [0, 1, 2])


def picture(width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    return np.ascontiguousarray(he_tiles(1, max(width, height))[0, :height, :width])


def network(halvings: int) -> NetworkNormalizer:
    """One with every weight away from where it starts, so that each pixel depends on its place."""
    torch.manual_seed(0)
    config = GeneratorConfig(
        width=4, num_downsamples=halvings, num_blocks=1, block_px=3, edge_px=3, sharpness_px=3
    )
    generator = StyleGenerator(config).eval().requires_grad_(False)
    for weight in generator.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    config_of_slide = StainConfig(min_stained_fraction=0.0)
    return NetworkNormalizer(generator, np.full(3, 243.0), config_of_slide, "cpu")


def apart(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other).max())


def at_once(normalizer: NetworkNormalizer, pixels: Pixels) -> Pixels:
    whole = normalizer.render(pixels[np.newaxis]).tiles[0]
    assert np.abs(whole.astype(int) - pixels).mean() > 2
    return whole


@HALVINGS
@pytest.mark.parametrize("tile_px", [256, 64, 37])
def test_windows_are_the_whole(halvings: int, tile_px: int) -> None:
    normalizer, pixels = network(halvings), picture()
    whole = at_once(normalizer, pixels)
    for inner in (Box(0, 0, WIDTH, HEIGHT), Box(13, 6, WIDTH - 5, HEIGHT)):
        rendered, num_passed = render_inner(normalizer, pixels, inner, tile_px)
        assert num_passed == 0
        assert apart(rendered, inner.of(whole)) <= 1  # what sums in another order round to


@HALVINGS
def test_blocks_of_a_slide_are_the_whole(halvings: int) -> None:
    """Each is cut out with its surroundings first, at odd places, too."""
    normalizer, pixels = network(halvings), picture(700, 587)
    whole = at_once(normalizer, pixels)
    for block in boxes((700, 587), 333):
        around = surroundings(normalizer, block, (700, 587))
        inner = block.moved(-around.x0, -around.y0)
        rendered, _ = render_inner(normalizer, around.of(pixels), inner, 111)
        assert apart(rendered, block.of(whole)) <= 1


@HALVINGS
def test_a_large_picture_is_the_whole(halvings: int) -> None:
    normalizer, pixels = network(halvings), picture(1290, 900)
    assert pixels[..., 0].size > WHOLE_NETWORK_PX
    rendered, is_passed = render_picture(normalizer, pixels)
    assert not is_passed
    assert apart(rendered, at_once(normalizer, pixels)) <= 1


def test_a_slide_in_bands_is_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stain_bands, "BLOCK_PX", 256)  # three bands of four blocks
    normalizer, pixels = network(2), picture(840, 600)
    source = write_pyramid(tmp_path / "slide.tif", pixels, compression="deflate")
    config = PyramidConfig(tile_px=64, jpeg_quality=100, subsampling="444")
    recipe = Recipe(Model(normalizer, mpp=0.25), StainConfig(), config)  # type: ignore[arg-type]
    job = SlideJob(SlideRecord("slide", source), tmp_path / "slide.ome.tiff")
    stain_slide(job, recipe=recipe, report=lambda num: None)
    with tifffile.TiffFile(job.target) as tiff:
        written = tiff.series[0].levels[0].asarray()
    assert apart(written, at_once(normalizer, pixels)) <= 5  # JPEG's own
