"""Whole slide in, whole slide out: geometry, pixels, seams, resuming, and faults."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from pathology.core.errors import MissingSpacing, SlideError, WrongResolution
from pathology.core.manifest import SlideRecord
from pathology.slides.ome_writer import PyramidConfig, stored_fingerprint
from pathology.slides.reader import shrink
from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.outcome import StainOutcome
from pipelines.stain_bands import BandPlan, Bands, block_px, render_bands
from pipelines.stain_recipe import Recipe
from pipelines.stain_slide import SlideJob, plan_slide, stain_slide
from tests.conftest import psnr, tissue_pixels, write_pyramid
from tests.pipelines.stain_blur import MARGIN_PX, Blur, Invert, Model

FINE = PyramidConfig(jpeg_quality=98, subsampling="444")
SWAP = Recipe(Model(Invert()), StainConfig(), FINE)
BLUR = Recipe(Model(Blur(), mpp=0.25, fingerprint="b1b1b1b1b1b1"), StainConfig(), FINE)
STYLE = Recipe(TEXTBOOK, StainConfig(), FINE)  # which other processes can import
WIDTH, HEIGHT = 2500, 4400  # two blocks by three bands


@cache
def tall_pixels() -> np.ndarray:
    return tissue_pixels(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of three bands."""
    path = tmp_path_factory.mktemp("tall") / "tall.tif"
    return write_pyramid(path, tall_pixels(), compression="deflate")


@pytest.fixture
def job(tall: Path, tmp_path: Path) -> SlideJob:
    return SlideJob(SlideRecord("tall", tall), tmp_path / "out" / "tall.ome.tiff")


def run(job: SlideJob, recipe: Recipe) -> StainOutcome:
    heard: list[int] = []
    outcome = stain_slide(job, recipe=recipe, report=heard.append)
    assert sum(heard) in (0, outcome.num_tiles)
    return outcome


def plan_of(job: SlideJob, recipe: Recipe) -> BandPlan:
    plan = plan_slide(job, recipe=recipe, report=lambda num: None)
    assert isinstance(plan, BandPlan)
    plan.folder.mkdir(parents=True)
    return plan


def edge_error(error: np.ndarray, place: int) -> float:
    """The mean error of the pixels on both sides of a row and a column."""
    return float(
        np.mean([error[place - 1 : place + 1].mean(), error.T[place - 1 : place + 1].mean()])
    )


def level(path: Path, number: int = 0) -> np.ndarray:
    with tifffile.TiffFile(path) as tiff:
        return np.asarray(tiff.series[0].levels[number].asarray())


def test_every_pixel_is_rendered_as_by_itself(job: SlideJob) -> None:
    outcome = run(job, SWAP)
    pixels = tall_pixels()
    assert outcome.num_tiles == 10 * 18
    assert outcome.white_level == "243 243 243"
    assert 0 < outcome.num_passed_through < 90
    tiles = (
        pixels[y : y + 256, x : x + 256] for y in range(0, 4400, 256) for x in range(0, 2500, 256)
    )
    assert outcome.num_passed_through == sum(tile.min() >= 235 for tile in tiles)
    swapped = np.where(pixels.min(axis=2, keepdims=True) >= 235, pixels, pixels[..., ::-1])
    assert psnr(swapped, level(job.target)) > 40
    for number in (1, 2):
        swapped = shrink(swapped, 4)
        assert psnr(swapped, level(job.target, number)) > 40


def test_the_pyramid_is_whole_for_others(job: SlideJob) -> None:
    run(job, SWAP)
    with openslide.OpenSlide(job.target) as slide:
        assert slide.level_dimensions == ((2500, 4400), (625, 1100), (157, 275), (40, 69))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        bottom = slide.read_region((2200, 4300), 0, (300, 100)).convert("RGB")
        assert np.abs(np.asarray(bottom).astype(int) - 243).max() < 6
    assert list(job.target.parent.iterdir()) == [job.target]


def test_a_look_around_leaves_no_seam(job: SlideJob) -> None:
    run(job, BLUR)
    edge = 2 * MARGIN_PX + 1
    whole = cv2.blur(tall_pixels(), (edge, edge))
    error = np.abs(level(job.target).astype(int) - whole).max(axis=2)
    assert error.max() <= 8
    at_block, at_tile = (edge_error(error, place) for place in (block_px(256), 2048 - 256))
    assert at_block < at_tile + 0.1


def test_a_corner_of_tissue_in_a_tile_is_no_seam(tmp_path: Path) -> None:
    pixels = np.full((1024, 1536, 3), 243, np.uint8)
    pixels[200:700, 240:1100] = tissue_pixels(2000, 1600)[500:1000, 500:1360]
    path = write_pyramid(tmp_path / "slide.tif", pixels, compression="deflate")
    job = SlideJob(SlideRecord("corner", path), tmp_path / "corner.ome.tiff")
    run(job, STYLE)
    tile = pixels[:256, :256]
    share = (tile.min(axis=2) < 200).mean()
    assert 0 < share < 0.02  # its own tile would pass through
    change = np.abs(level(job.target).astype(int) - pixels).mean(axis=2)[200:256]
    inside, beyond = change[:, 243:256].mean(), change[:, 256:269].mean()
    assert inside == pytest.approx(beyond, rel=0.35)
    assert inside > 5


def test_processes_change_no_byte(job: SlideJob, tmp_path: Path) -> None:
    one = run(job, STYLE)
    other = replace(job, target=tmp_path / "other.ome.tiff")
    two = run(other, replace(STYLE, processes=2))
    assert other.target.read_bytes() == job.target.read_bytes()
    assert (one.fingerprint, one.num_passed_through) == (two.fingerprint, two.num_passed_through)


def test_finished_bands_are_taken_as_they_are(job: SlideJob, tmp_path: Path) -> None:
    whole = run(replace(job, target=tmp_path / "whole.ome.tiff"), SWAP)
    plan = plan_of(job, SWAP)
    assert plan.num_bands == 3
    heard: list[int] = []
    assert render_bands(Bands(plan, (1,)), report=heard.append) == 1
    written = plan.band_path(1).stat().st_mtime_ns
    (plan.folder / "00002.band").write_bytes(b"half a band")
    assert render_bands(Bands(plan, (0, 1, 2)), report=heard.append) == 2
    assert plan.band_path(1).stat().st_mtime_ns == written
    resumed = run(job, SWAP)
    assert resumed.num_passed_through == whole.num_passed_through
    assert job.target.read_bytes() == (tmp_path / "whole.ome.tiff").read_bytes()
    assert not plan.folder.exists()


def test_bands_of_another_recipe_are_made_anew(job: SlideJob) -> None:
    plan = plan_of(job, BLUR)
    render_bands(Bands(plan, (0, 1, 2)), report=lambda num: None)
    before = run(replace(job, target=job.target.with_name("other.ome.tiff")), SWAP)
    assert run(job, SWAP).fingerprint == before.fingerprint
    assert job.target.read_bytes() == job.target.with_name("other.ome.tiff").read_bytes()


def test_a_finished_slide_is_not_done_again(job: SlideJob) -> None:
    first = run(job, SWAP)
    assert stored_fingerprint(job.target) == first.fingerprint
    written = job.target.stat().st_mtime_ns
    again = run(job, SWAP)
    assert again == replace(first, reason=f"already complete; {first.reason}", seconds=0.0)
    assert first.reason.endswith(" tiles without stain stay as they are")
    assert job.target.stat().st_mtime_ns == written
    other = replace(SWAP, model=replace(SWAP.model, fingerprint="ba9876543210"))  # type: ignore[type-var]
    assert run(job, other).fingerprint != first.fingerprint
    assert job.target.stat().st_mtime_ns != written


def test_names_depend_on_all_that_shapes_pixels(job: SlideJob) -> None:
    recipes = [
        SWAP,
        replace(SWAP, config=StainConfig(max_gain=2)),
        replace(SWAP, pyramid=PyramidConfig()),
        replace(SWAP, pyramid=FINE.model_copy(update={"mpp": 0.5})),
    ]
    jobs = [(job, recipe) for recipe in recipes]
    jobs.append((replace(job, record=replace(job.record, mpp=0.3)), SWAP))
    assert len({plan_slide(j, recipe=r, report=print).fingerprint for j, r in jobs}) == 5
    threaded = replace(SWAP, processes=2, threads=4)
    names = {plan_slide(job, recipe=r, report=print).fingerprint for r in (SWAP, threaded)}
    assert len(names) == 1


@pytest.mark.parametrize(("mpp", "size"), [(0.5, (1250, 2200)), (0.4, (1562, 2750))])
def test_a_coarser_copy(job: SlideJob, mpp: float, size: tuple[int, int]) -> None:
    run(job, replace(SWAP, pyramid=FINE.model_copy(update={"mpp": mpp})))
    with openslide.OpenSlide(job.target) as slide:
        assert abs(slide.dimensions[0] - size[0]) <= 2
        said = float(slide.properties["openslide.mpp-x"])
        assert said == pytest.approx(mpp, rel=0.005)
        assert slide.dimensions[0] * said == pytest.approx(WIDTH * 0.25, rel=0.002)
    pixels = tall_pixels()
    swapped = np.where(pixels.min(axis=2, keepdims=True) >= 235, pixels, pixels[..., ::-1])
    seen = level(job.target)
    covered = (round(seen.shape[1] * said / 0.25), round(seen.shape[0] * said / 0.25))
    small = cv2.resize(
        swapped[: covered[1], : covered[0]],
        (seen.shape[1], seen.shape[0]),
        interpolation=cv2.INTER_AREA,
    )
    assert psnr(small, seen) > 34


def test_a_network_works_at_its_own_resolution(job: SlideJob) -> None:
    taught = replace(BLUR, model=Model(Blur(), mpp=0.5, fingerprint="b2b2b2b2b2b2"))
    run(job, taught)
    with openslide.OpenSlide(job.target) as slide:
        assert slide.dimensions == (1250, 2200)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
    said = "written at the model's 0.5 um/px, scanned at 0.25"
    assert run(job, taught).reason == f"already complete; {said}"
    asked = replace(taught, pyramid=FINE.model_copy(update={"mpp": 0.5}))
    assert run(job, asked).reason == ""  # as it was asked for
    asked = replace(taught, pyramid=FINE.model_copy(update={"mpp": 1.0}))
    with pytest.raises(WrongResolution, match=r"1 um/px is asked for, .*trained at 0.5") as refusal:
        run(job, asked)
    assert refusal.value.remedy == "Leave --mpp out: the slide is then written at 0.5 um/px"
    with pytest.raises(WrongResolution, match="too coarse"):
        run(replace(job, record=replace(job.record, mpp=0.9)), taught)
    color = replace(SWAP, model=Model(Invert(), mpp=0.5))
    run(job, color)
    with openslide.OpenSlide(job.target) as slide:
        assert slide.dimensions == (WIDTH, HEIGHT)


def test_the_textbook_style_keeps_glass_and_shape(job: SlideJob) -> None:
    outcome = run(job, Recipe(TEXTBOOK, StainConfig()))
    assert outcome.hematoxylin
    before, after = tall_pixels(), level(job.target)
    assert np.abs(after[:200, :200].astype(int) - before[:200, :200]).max() <= 3
    assert np.abs(after[2000:2400, 1000:1400].astype(int) - before[2000:2400, 1000:1400]).mean() > 5


def test_a_slide_of_less_than_a_tile(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", tissue_pixels(90, 70), downsamples=())
    job = SlideJob(SlideRecord("a", path), tmp_path / "a.ome.tiff")
    assert run(job, SWAP).num_tiles == 1
    assert level(job.target).shape == (70, 90, 3)
    with openslide.OpenSlide(job.target) as slide:
        assert slide.level_count == 1


def test_glass_alone_passes_through(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", np.full((600, 700, 3), 243, np.uint8))
    job = SlideJob(SlideRecord("a", path), tmp_path / "a.ome.tiff")
    outcome = run(job, Recipe(TEXTBOOK, StainConfig()))
    assert outcome.num_passed_through == outcome.num_tiles == 9
    assert outcome.reason == "all tiles stay as they are: no tissue was found"
    assert np.abs(level(job.target).astype(int) - 243).max() <= 1


def test_a_slide_without_resolution_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", tissue_pixels(600, 600), mpp=None)
    job = SlideJob(SlideRecord("a", path), tmp_path / "a.ome.tiff")
    with pytest.raises(MissingSpacing, match="--assume-mpp"):
        run(job, SWAP)
    run(job, replace(SWAP, assume_mpp=0.25))
    assert stored_fingerprint(job.target)


@pytest.mark.parametrize("processes", [0, 2])
def test_damage_leaves_no_file_and_the_sound_bands(job: SlideJob, processes: int) -> None:
    with tifffile.TiffFile(job.record.slide_path) as tiff:
        page = tiff.pages.first
        place, length = page.dataoffsets[-1], page.databytecounts[-1]
    broken = job.target.parent.parent / "broken.tif"
    shutil.copy(job.record.slide_path, broken)
    with broken.open("r+b") as stream:
        stream.seek(place)
        stream.write(bytes(length))
    bad = replace(job, record=SlideRecord("tall", broken))
    with pytest.raises(SlideError, match=r"tall: the stored tile at column 9, row 17 .*damaged"):
        run(bad, replace(STYLE, processes=processes))
    assert not job.target.exists()
    bands = job.target.with_name(f".{job.target.name}.bands")
    assert sorted(path.name for path in bands.iterdir()) == ["00000.band", "00001.band"]
