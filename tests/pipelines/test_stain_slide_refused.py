"""What is no slide to normalize: what is normalized already, and images without colors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from pathology.core.errors import SlideError
from pathology.core.manifest import SlideRecord
from pathology.stain.config import StainConfig
from pathology.stain.contract import RAW, stain_of
from pathology.stain.macenko import TEXTBOOK
from pathology.tiling.config import TileSpec, TilingConfig, TilingJob
from pathology.tiling.extract import tile_slide
from pathology.tiling.store import open_tiles
from pipelines.png_file import write_png
from pipelines.stain_recipe import Recipe
from pipelines.stain_slide import SlideJob, stain_slide
from pipelines.tile_samples import Sampling, sample_slide
from tests.conftest import tissue_pixels, write_pyramid

STYLE = Recipe(TEXTBOOK, StainConfig())


def run(job: SlideJob, recipe: Recipe) -> None:
    stain_slide(job, recipe=recipe, report=lambda num: None)


def test_a_normalized_slide_says_so_to_later_stages(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "raw.tif", tissue_pixels(2000, 1600))
    raw, other = SlideRecord("raw", path), replace(STYLE, config=StainConfig(max_gain=1.5))
    assert len({RAW, TEXTBOOK.fingerprint, other.stain}) == 3
    stains = {"raw": RAW, "usual": TEXTBOOK.fingerprint, "other": other.stain}
    records = {"raw": raw}
    for name, recipe in (("usual", STYLE), ("other", other)):
        records[name] = SlideRecord(name, tmp_path / f"{name}.ome.tiff")
        run(SlideJob(raw, records[name].slide_path), recipe)
        twice = SlideJob(records[name], tmp_path / "twice.ome.tiff")
        with pytest.raises(SlideError, match=f"normalized already, by model {recipe.stain}"):
            run(twice, STYLE)
        assert not twice.target.exists()
    tiling = TilingConfig(tile=TileSpec(size_px=128, mpp=0.5))
    for name, record in records.items():
        tile_slide(record, tiling, TilingJob(tmp_path))
        store = open_tiles(tmp_path / "tiles" / f"{name}.zarr")
        assert stain_of(store.attributes) == stains[name]
        assert sample_slide(record, Sampling(128, 4)).stain == stains[name]


def test_a_slide_of_before_is_in_the_stain_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pyramid(tmp_path / "raw.tif", tissue_pixels(600, 500))
    notes = {name: said for name, said in STYLE.notes.items() if name != "stain"}
    monkeypatch.setattr(Recipe, "notes", notes)
    made = SlideJob(SlideRecord("raw", path), tmp_path / "made.ome.tiff")
    run(made, STYLE)
    monkeypatch.undo()
    sample = sample_slide(SlideRecord("made", made.target), Sampling(128, 4))
    assert sample.stain == TEXTBOOK.fingerprint == STYLE.stain
    assert stain_slide(made, recipe=STYLE, report=print).reason.startswith("already complete")


def test_a_normalized_picture_is_no_slide_to_normalize(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", tissue_pixels(600, 500), STYLE.notes)
    job = SlideJob(SlideRecord("a", tmp_path / "a.png", mpp=0.5), tmp_path / "a.ome.tiff")
    with pytest.raises(SlideError, match=f"normalized already, by model {STYLE.stain}"):
        run(job, STYLE)
    tile_slide(job.record, TilingConfig(tile=TileSpec(size_px=128)), TilingJob(tmp_path))
    assert stain_of(open_tiles(tmp_path / "tiles" / "a.zarr").attributes) == STYLE.stain


@pytest.mark.parametrize("name", ["grey.tif", "tiled.tif", "deep.tif", "deep.png", "grey.png"])
def test_images_without_colors_of_eight_bits_are_refused(tmp_path: Path, name: str) -> None:
    pixels = tissue_pixels(600, 500)
    values = pixels.astype(np.uint16) * 257 if name.startswith("deep") else pixels[..., 0]
    if name.endswith(".png"):
        cv2.imwrite(str(tmp_path / name), values)
    else:
        tile = (256, 256) if name == "tiled.tif" else None
        kind = "minisblack" if values.ndim == 2 else "rgb"
        tifffile.imwrite(tmp_path / name, values, photometric=kind, tile=tile)
    job = SlideJob(SlideRecord("a", tmp_path / name, mpp=0.5), tmp_path / "a.ome.tiff")
    said = "16-bit colours" if name.startswith("deep") else "a grey picture shows no stains"
    with pytest.raises(SlideError, match=said):
        run(job, STYLE)
    assert not job.target.exists()
