"""Simulated slides: what is in the file agrees with what is said to be true."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.simulate.centre import CENTRES
from pathology.simulate.glands import ADENOMA, CARCINOMA, GRADES
from pathology.simulate.slide import SlideConfig, render_level0, simulate_slide
from pathology.simulate.tissue import Tissue, simulate_tissue
from pathology.simulate.truth import SlideTruth, read_grades, read_truth

SEED = 11
CONFIG = SlideConfig(size_um=(660, 600))


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return simulate_tissue(SEED, CARCINOMA, size_um=CONFIG.size_um)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tissue: Tissue) -> Path:
    """Slides of one piece of tissue at every centre, sim_0 to sim_4, and with every fault."""
    folder = tmp_path_factory.mktemp("slides")
    for number, centre in enumerate(CENTRES):
        write(folder, f"sim_{number}", tissue, centre=centre)
    for fault in ("no_mpp", "truncated", "pen_ink", "out_of_focus"):
        write(folder, f"sim_{fault}", tissue, fault=fault)
    return folder


def write(folder: Path, slide_id: str, tissue: Tissue, **more: object) -> SlideTruth:
    return simulate_slide(
        folder,
        slide_id,
        label=tissue.label,
        seed=tissue.seed,
        config=CONFIG,
        tissue=tissue,
        **more,  # type: ignore[arg-type]
    )


def level0(folder: Path, slide_id: str) -> NDArray[np.uint8]:
    with openslide.OpenSlide(folder / "slides" / f"{slide_id}.tif") as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def truth_of(folder: Path, slide_id: str) -> SlideTruth:
    return read_truth(folder / "truth" / f"{slide_id}.truth.png")


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(cv2.PSNR(one, other))


@pytest.mark.parametrize("number", range(len(CENTRES)))
def test_openslide_opens_the_slide_and_reads_its_spacing(folder: Path, number: int) -> None:
    centre = CENTRES[number]
    with openslide.OpenSlide(folder / "slides" / f"sim_{number}.tif") as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(centre.mpp, rel=1e-4)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(centre.mpp, rel=1e-4)
        assert slide.dimensions == (round(660 / centre.mpp), round(600 / centre.mpp))
        assert slide.level_count == 3
        assert slide.level_downsamples == pytest.approx((1, 4, 16), rel=0.02)
        assert "Simulated" in slide.properties["tiff.ImageDescription"]


def test_the_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    kwargs = {"label": CARCINOMA, "centre": CENTRES[0], "config": CONFIG}
    simulate_slide(tmp_path, "sim_0", seed=SEED, **kwargs)  # type: ignore[arg-type]
    written = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert [p.name for p in written] == [
        "sim_0.tif",
        "sim_0.truth.json",
        "sim_0.truth.npz",
        "sim_0.truth.png",
    ]
    for name in written:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_another_seed_writes_other_bytes(folder: Path, tmp_path: Path) -> None:
    simulate_slide(tmp_path, "sim_0", label=CARCINOMA, seed=SEED + 1, config=CONFIG)
    one, other = (f / "slides" / "sim_0.tif" for f in (folder, tmp_path))
    assert one.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("number", range(len(CENTRES)))
def test_pixels_are_the_rendered_truth_up_to_noise_and_compression(
    folder: Path, tissue: Tissue, number: int
) -> None:
    pixels = level0(folder, f"sim_{number}")
    likeness = [
        psnr(pixels, render_level0(tissue, replace(c, mpp=CENTRES[number].mpp))) for c in CENTRES
    ]
    assert likeness[number] > 30
    assert np.argmax(likeness) == number
    assert likeness[number] > 4 + sorted(likeness)[-2]


def test_stored_truth_alone_renders_the_slide(tmp_path: Path, tissue: Tissue) -> None:
    simulate_slide(
        tmp_path,
        "sim_full",
        label=CARCINOMA,
        seed=SEED,
        config=SlideConfig(size_um=CONFIG.size_um, concentration_downsample=1),
        tissue=tissue,
    )
    with np.load(tmp_path / "truth" / "sim_full.truth.npz") as truth:
        assert truth["concentrations"].dtype == np.float16
        od = (truth["concentrations"].astype(float) * truth["amounts"]) @ truth["stain_matrix"]
        rendered = np.rint(truth["white_level"] * np.exp(-od)).astype(np.uint8)
    assert psnr(rendered, render_level0(tissue, CENTRES[0])) > 55
    assert psnr(rendered, level0(tmp_path, "sim_full")) > 30


def test_stored_concentrations_are_block_averages(folder: Path, tissue: Tissue) -> None:
    with np.load(folder / "truth" / "sim_0.truth.npz") as truth:
        stored = truth["concentrations"]
        assert np.array_equal(truth["stain_matrix"], CENTRES[0].stain_matrix)
    blocks = tissue.concentrations[:1200, :1320].reshape(150, 8, 165, 8, 2).mean(axis=(1, 3))
    assert stored.shape == (150, 165, 2)
    assert np.allclose(stored, blocks, atol=2e-3)


def test_one_tissue_has_one_truth_at_every_centre(folder: Path) -> None:
    truths = [truth_of(folder, f"sim_{number}") for number in range(len(CENTRES))]
    assert len({t.grade_fractions for t in truths}) == 1
    assert len({t.seed for t in truths}) == 1
    assert [t.centre for t in truths] == [c.name for c in CENTRES]


def test_stated_constants_regrow_the_tissue(folder: Path, tissue: Tissue) -> None:
    truth = truth_of(folder, "sim_2")
    again = simulate_tissue(truth.seed, GRADES.index(truth.label), size_um=truth.size_um)
    assert np.array_equal(again.concentrations, tissue.concentrations)


def test_a_share_asked_for_is_stated_with_what_came_of_it(tmp_path: Path) -> None:
    config = SlideConfig(size_um=(900, 900), top_share=(0.02, 0.08))
    made = simulate_slide(tmp_path, "rare", label=CARCINOMA, seed=2, config=config)
    truth = read_truth(tmp_path / "truth" / "rare.truth.png")
    assert truth == made
    assert truth.top_share == config.top_share
    assert 0.02 <= truth.grade_fractions[CARCINOMA] <= 0.08


@pytest.mark.parametrize("number", range(3))
def test_grade_map_agrees_with_label_and_tissue(folder: Path, number: int) -> None:
    truth = truth_of(folder, f"sim_{number}")
    grades = read_grades(folder / "truth" / f"sim_{number}.truth.png")
    assert grades.shape == (-(-truth.size[1] // 16), -(-truth.size[0] // 16))
    assert GRADES[grades.max() - 1] == truth.label == "carcinoma"
    shares = np.bincount(grades.ravel(), minlength=4)[1:] / np.count_nonzero(grades)
    assert shares == pytest.approx(truth.grade_fractions, abs=0.02)
    rgb = cv2.resize(
        level0(folder, f"sim_{number}"), grades.shape[::-1], interpolation=cv2.INTER_AREA
    )
    is_stained = np.ptp(rgb, axis=2) > 25
    assert np.mean(is_stained == (grades > 0)) > 0.93


def test_a_slide_is_not_grown_twice_when_its_tissue_is_at_hand(tmp_path: Path) -> None:
    truth = simulate_slide(tmp_path, "sim_x", label=ADENOMA, seed=2, config=CONFIG)
    assert truth.label == "adenoma"
    assert truth.grade_fractions[CARCINOMA] == 0


def test_truth_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere\.truth\.png"):
        read_truth(tmp_path / "nowhere.truth.png")


def test_fault_no_mpp_leaves_the_spacing_out_and_nothing_else(folder: Path) -> None:
    with openslide.OpenSlide(folder / "slides" / "sim_no_mpp.tif") as slide:
        assert "openslide.mpp-x" not in slide.properties
    assert np.array_equal(level0(folder, "sim_no_mpp"), level0(folder, "sim_0"))
    truth = truth_of(folder, "sim_no_mpp")
    assert (truth.fault, truth.mpp) == ("no_mpp", 0.5)


def test_fault_truncated_is_the_start_of_a_sound_file(folder: Path) -> None:
    broken = (folder / "slides" / "sim_truncated.tif").read_bytes()
    sound = (folder / "slides" / "sim_0.tif").read_bytes()
    assert sound.startswith(broken)
    assert 0 < len(broken) < len(sound) / 2
    with pytest.raises(openslide.OpenSlideError):
        level0(folder, "sim_truncated")


@pytest.mark.parametrize("fault", ["pen_ink", "out_of_focus"])
def test_pixel_faults_change_the_image_where_their_mask_says(folder: Path, fault: str) -> None:
    truth = truth_of(folder, f"sim_{fault}")
    mask = read_grades(folder / "truth" / f"sim_{fault}.fault.png") > 0
    assert truth.fault == fault
    assert truth.has_fault_mask
    assert mask.shape == read_grades(folder / "truth" / f"sim_{fault}.truth.png").shape
    assert 0.02 < mask.mean() < 0.5
    faulty, sound = level0(folder, f"sim_{fault}"), level0(folder, "sim_0")
    change = cv2.resize(
        cv2.absdiff(faulty, sound), mask.shape[::-1], interpolation=cv2.INTER_AREA
    ).max(axis=2)
    far = cv2.dilate(mask.astype(np.uint8), np.ones((21, 21), np.uint8)) == 0
    assert np.median(change[mask]) > 5
    assert np.median(change[far]) == 0


def test_fault_pen_ink_is_green_blue_and_black(folder: Path) -> None:
    small = cv2.resize(
        level0(folder, "sim_pen_ink"), None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA
    ).astype(int)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    assert np.count_nonzero((green > red + 30) & (green > blue + 15)) > 8
    assert np.count_nonzero((blue > red + 60) & (blue > green + 40)) > 8
    assert np.count_nonzero(small.max(axis=2) < 60) > 8


def test_fault_out_of_focus_loses_sharpness(folder: Path) -> None:
    mask = read_grades(folder / "truth" / "sim_out_of_focus.fault.png")
    whole = cv2.erode(mask, np.ones((5, 5), np.uint8))
    inside = cv2.resize(whole, (1320, 1200), interpolation=cv2.INTER_NEAREST) > 0
    sharpness = [
        np.abs(cv2.Laplacian(cv2.cvtColor(level0(folder, s), cv2.COLOR_RGB2GRAY), cv2.CV_32F))[
            inside
        ].mean()
        for s in ("sim_out_of_focus", "sim_0")
    ]
    assert sharpness[0] < 0.3 * sharpness[1]
