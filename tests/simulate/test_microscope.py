"""Simulated microscope frames: each flaw of the camera, one at a time."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.simulate.centre import CENTRES, render
from pathology.simulate.glands import CARCINOMA, GRADES
from pathology.simulate.manifest import SimulatedRow
from pathology.simulate.microscope import (
    MicroscopeConfig,
    decode_jpeg,
    expose,
    frame_label,
    microscope_frame,
    vignette,
    write_frames,
)
from pathology.simulate.tissue import Tissue, simulate_tissue
from pathology.simulate.truth import read_grades

FLAWLESS = MicroscopeConfig(
    vignetting=0,
    white_balance=(1, 1, 1),
    cast_spread=0,
    defocus_um=0,
    motion_um=0,
    noise=0,
    jpeg_quality=100,
)
GRAY = np.full((240, 320, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return simulate_tissue(7, CARCINOMA, size_um=(700, 640))


@pytest.fixture(scope="module")
def view(tissue: Tissue) -> NDArray[np.uint8]:
    return render(tissue.concentrations[400:640, 500:820], CENTRES[0])


def flawed(**flaws: object) -> MicroscopeConfig:
    return FLAWLESS.model_copy(update=flaws)


def sharpness(rgb: NDArray[np.uint8]) -> float:
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(gray, cv2.CV_32F)).mean())


def test_a_flawless_microscope_changes_nothing(view: NDArray[np.uint8]) -> None:
    assert np.array_equal(expose(view, 0, FLAWLESS), view)
    assert cv2.PSNR(microscope_frame(view, 0, FLAWLESS), view) > 36


def test_a_frame_is_a_function_of_its_seed(view: NDArray[np.uint8]) -> None:
    assert np.array_equal(microscope_frame(view, 1), microscope_frame(view, 1))
    assert not np.array_equal(microscope_frame(view, 1), microscope_frame(view, 2))
    assert microscope_frame(view, 1).shape == view.shape


def test_vignetting_darkens_the_corners_and_spares_the_center() -> None:
    frame = expose(GRAY, 0, flawed(vignetting=0.4))
    assert frame[120, 160].tolist() == [128, 128, 128]
    assert frame[0, 0, 0] == pytest.approx(0.6 * 128, abs=2)
    assert vignette((3, 3), 0.4)[1, 1] == 1


def test_white_balance_casts_a_color() -> None:
    frame = expose(GRAY, 0, flawed(white_balance=(1.0, 0.9, 0.5)))
    assert frame[0, 0].tolist() == pytest.approx([128, 115, 64], abs=1)


def test_cast_spread_differs_from_frame_to_frame() -> None:
    config = flawed(cast_spread=0.1)
    colors = {tuple(expose(GRAY, seed, config)[0, 0].tolist()) for seed in range(5)}
    assert len(colors) == 5


def test_defocus_and_motion_lose_sharpness(view: NDArray[np.uint8]) -> None:
    for flaw in ({"defocus_um": 3.0}, {"motion_um": 12.0}):
        assert sharpness(expose(view, 0, flawed(**flaw))) < 0.7 * sharpness(view)


def test_motion_blurs_along_one_direction_only() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 1), np.uint8).repeat(3, axis=2)
    moved = expose(noise, 3, flawed(motion_um=20.0)).astype(float)[..., 0]
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(moved - moved.mean()))) ** 2
    y, x = np.indices(spectrum.shape) - 100
    near = np.hypot(x, y) < 60
    spread = np.cov(np.stack([x[near], y[near]]), aweights=spectrum[near])
    small, large = np.linalg.eigvalsh(spread)
    assert large > 1.5 * small


def test_noise_has_the_deviation_asked_for_and_grows_with_light() -> None:
    bright = np.full((200, 200, 3), 240, np.uint8)
    dark = np.full((200, 200, 3), 60, np.uint8)
    deviations = [expose(rgb, 0, flawed(noise=6.0)).std() for rgb in (dark, bright)]
    assert deviations[1] == pytest.approx(6 * np.sqrt(240 / 255), rel=0.06)
    assert deviations[0] == pytest.approx(6 * np.sqrt(60 / 255), rel=0.06)


def test_a_poor_jpeg_is_further_from_the_exposure(view: NDArray[np.uint8]) -> None:
    near, far = (
        cv2.PSNR(microscope_frame(view, 0, flawed(jpeg_quality=quality)), view)
        for quality in (95, 20)
    )
    assert near > far + 4


def test_a_frame_is_named_by_its_most_malignant_grade_unless_that_is_a_speck() -> None:
    grades = np.zeros((100, 100), np.uint8)
    assert frame_label(grades) == 0
    grades[:, :50] = 1
    assert frame_label(grades) == 0
    grades[0, 0] = 3
    assert frame_label(grades) == 0
    grades[:5, :50] = 3
    assert frame_label(grades) == 2


def test_written_frames_agree_with_their_rows(tmp_path: Path, tissue: Tissue) -> None:
    like = SimulatedRow(
        slide_id="sim_0007",
        case_id="sim_case_1",
        slide_path="slides/sim_0007.tif",
        label="carcinoma",
        centre="sim_centre_0",
        scanner="sim_scanner_a",
        mpp=0.5,
        domain="wsi",
        split="val",
        truth_path="truth/sim_0007.truth.png",
    )
    config = MicroscopeConfig(size_px=(640, 480))
    rows = write_frames(tmp_path, tissue, like, num_frames=3, config=config)
    assert [row.slide_id for row in rows] == [f"sim_0007_frame_0{k}" for k in range(3)]
    assert rows[0].label == "carcinoma"
    for row in rows:
        assert (row.domain, row.case_id, row.split) == ("microscope", "sim_case_1", "val")
        assert row.mpp == config.mpp
        image = decode_jpeg((tmp_path / row.slide_path).read_bytes())
        assert image.shape == (480, 640, 3)
        grades = read_grades(tmp_path / row.truth_path)
        assert grades.shape == (60, 80)
        truth = json.loads((tmp_path / row.truth_path).with_suffix(".json").read_text())
        assert GRADES.index(truth["label"]) == frame_label(grades)
        stained = np.ptp(cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA), axis=2)
        assert np.median(stained[grades > 0]) > 30
