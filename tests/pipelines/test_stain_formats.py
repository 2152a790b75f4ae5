"""A store as a store and as PNG files: the same refusals, and the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pathology.stain.config import StainConfig
from pathology.stain.learned import LearnedModel
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.normalize_store import normalize_store
from pathology.stain.normalizer import StainModel
from pathology.tiling.store import open_tiles
from pipelines.input_kinds import look_at
from pipelines.stain import apply_recipe
from pipelines.stain_recipe import Recipe
from tests.conftest import tissue_pixels
from tests.pipelines.test_stain_evaluate import store_of
from tests.stain.synthetic import he_tiles
from tests.stain.test_learned import make_model
from tests.stain.test_normalize_store import make_store

FORMATS = ("store", "tiles")


@pytest.fixture(scope="module")
def learned() -> LearnedModel:
    return make_model(mpp=0.5)


def refusals(store: Path, out: Path, model: StainModel, quality: str = "lut") -> list[str]:
    """What each format says of a store that is not done."""
    recipe = Recipe(model, StainConfig.model_validate({"quality": quality}))
    found = []
    for wanted in FORMATS:
        (row,) = apply_recipe(look_at(store), out / wanted, recipe, wanted)
        assert row.status == "failed"
        found.append(row.reason)
    return found


def test_either_format_refuses_what_the_other_refuses(
    tmp_path: Path, learned: LearnedModel
) -> None:
    bare = make_store(tmp_path / "bare.zarr", he_tiles(2), has_pixels=False)
    fine = make_store(tmp_path / "fine.zarr", he_tiles(2), mpp=0.25)
    styled = tmp_path / "styled.zarr"
    normalize_store(fine, styled, TEXTBOOK, StainConfig())
    for store, model, quality, said in (
        (bare, TEXTBOOK, "lut", "coordinates only"),
        (fine, learned, "teacher", "0.25 microns per pixel, the stain model was made for 0.5"),
        (fine, learned, "lut", "0.25 microns per pixel, the stain model was made for 0.5"),
        (styled, TEXTBOOK, "lut", "normalized already"),
    ):
        one, other = refusals(store, tmp_path / "out", model, quality)
        assert one == other
        assert said in one


@pytest.mark.parametrize("quality", ["teacher", "lut"])
def test_pictures_of_tiles_are_the_tiles_of_the_store(
    tmp_path: Path, learned: LearnedModel, quality: str
) -> None:
    mosaic = tissue_pixels(512, 512)[128:384, 128:384]
    source = store_of(tmp_path / "a.zarr", mosaic, edge=64, l0_edge=64)
    recipe = Recipe(learned, StainConfig.model_validate({"quality": quality}))
    for wanted in FORMATS:
        apply_recipe(look_at(source), tmp_path / wanted, recipe, wanted)
    store = open_tiles(tmp_path / "store" / "tiles" / "a.zarr")
    for (x, y), tile in zip(store.l0_xy.tolist(), store.read(slice(None)), strict=True):
        with Image.open(tmp_path / "tiles" / "a" / f"{x}_{y}.png") as picture:
            assert np.abs(np.asarray(picture).astype(int) - tile).max() <= 1
