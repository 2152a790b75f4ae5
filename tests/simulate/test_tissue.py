"""Simulated tissue: what grows from a seed, and how centres show it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pathology.core.errors import ConfigError
from pathology.simulate.anatomy import plan_tissue
from pathology.simulate.cells import make_cells, paint_cells
from pathology.simulate.centre import CENTRES, render, transmit
from pathology.simulate.glands import ADENOMA, CARCINOMA, GRADES, HEALTHY
from pathology.simulate.noise import smooth_noise
from pathology.simulate.placement import place_cells
from pathology.simulate.tissue import SHARE, Tissue, plan_as_promised, resample, simulate_tissue

SIZE_UM = (660, 600)


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return simulate_tissue(3, CARCINOMA, size_um=SIZE_UM)


def test_the_same_seed_grows_the_same_tissue_and_another_seed_does_not(tissue: Tissue) -> None:
    again = simulate_tissue(3, CARCINOMA, size_um=SIZE_UM)
    other = simulate_tissue(4, CARCINOMA, size_um=SIZE_UM)
    assert np.array_equal(tissue.concentrations, again.concentrations)
    assert np.array_equal(tissue.grades, again.grades)
    assert not np.array_equal(tissue.concentrations, other.concentrations)


def test_concentrations_are_amounts_and_glass_has_none(tissue: Tissue) -> None:
    assert tissue.concentrations.shape == (1200, 1320, 2)
    assert tissue.concentrations.dtype == np.float32
    assert tissue.concentrations.min() == 0
    on_glass = cv2.erode((tissue.grades == 0).astype(np.uint8), np.ones((13, 13), np.uint8))
    on_glass = cv2.resize(on_glass, (1320, 1200), interpolation=cv2.INTER_NEAREST) > 0
    assert tissue.concentrations[on_glass].max() == 0
    assert tissue.concentrations[:20].max() == 0


@pytest.mark.parametrize("label", range(len(GRADES)))
@pytest.mark.parametrize("seed", range(4))
def test_the_label_is_the_most_malignant_grade_and_covers_its_share(label: int, seed: int) -> None:
    grades = plan_as_promised(np.random.default_rng(seed), (600, 600), label).grades
    assert grades.max() == label + 1
    share = np.count_nonzero(grades == label + 1) / np.count_nonzero(grades)
    if label == HEALTHY:
        assert share == 1
    else:
        assert SHARE[0] <= share <= SHARE[1]


@pytest.mark.parametrize("label", [ADENOMA, CARCINOMA])
def test_a_share_of_the_most_malignant_grade_can_be_asked_for(label: int) -> None:
    for low, high in ((0.4, 0.6), (0.03, 0.07)):
        rng = np.random.default_rng(1)
        grades = plan_as_promised(rng, (900, 900), label, (low, high)).grades
        assert grades.max() == label + 1
        assert low <= np.count_nonzero(grades == label + 1) / np.count_nonzero(grades) <= high


@pytest.mark.parametrize("top_share", [(0.0, 0.1), (0.2, 0.1), (0.5, 0.9)])
def test_a_share_that_nothing_can_have_is_refused(top_share: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="top_share"):
        simulate_tissue(0, CARCINOMA, size_um=SIZE_UM, top_share=top_share)


def test_nuclei_grow_larger_longer_and_darker_with_the_grade() -> None:
    rng = np.random.default_rng(0)
    plan = plan_tissue(rng, (1000, 1000), CARCINOMA)
    _, basal, adenoma, _, pale, dark, *_ = place_cells(rng, plan)
    aspects = {
        name: float(np.median(cells.semi_um[:, 0] / cells.semi_um[:, 1]))
        for name, cells in {"basal": basal, "adenoma": adenoma, "pale": pale}.items()
    }
    assert aspects["adenoma"] > 2 > aspects["pale"] > 1
    areas = [float(np.median(np.prod(cells.semi_um, axis=1))) for cells in (basal, adenoma, dark)]
    assert areas == sorted(areas)
    assert 5 < 2 * np.median(basal.semi_um) < 8  # um across
    assert np.std(pale.semi_um[:, 0]) > 2 * np.std(basal.semi_um[:, 0])


def test_epithelium_of_each_grade_differs_in_haematoxylin() -> None:
    amounts = []
    for label in (HEALTHY, ADENOMA):
        tissue = simulate_tissue(1, label, size_um=(600, 600))
        here = cv2.resize(tissue.grades, (1200, 1200), interpolation=cv2.INTER_NEAREST)
        amounts.append(tissue.concentrations[here == label + 1, 0].mean())
    assert amounts[1] > 1.3 * amounts[0]


@pytest.mark.parametrize(("label", "size_um"), [(3, (700, 700)), (-1, (700, 700)), (0, (700, 90))])
def test_what_cannot_be_grown_is_refused(label: int, size_um: tuple[int, int]) -> None:
    with pytest.raises(ConfigError):
        simulate_tissue(0, label, size_um=size_um)


def test_a_cell_paints_its_stain_inside_itself_and_nothing_outside() -> None:
    rng = np.random.default_rng(0)
    ground = np.zeros((80, 80, 2), np.float32)
    xy_um = np.array([[20.0, 20.0], [0.5, 0.5]], np.float32)  # the second hangs over the edge
    cells = make_cells(
        rng, xy_um, semi_um=(4, 4), stain=(1.0, 0.3), spread=0, opacity=1, bumps=0, clearing=0
    )
    paint_cells(ground, cells, 0.5, rng)
    y, x = np.indices((80, 80))
    radius_px = np.hypot(x - 40, y - 40)
    assert ground[radius_px > 12].max() == 0
    assert ground[radius_px < 6, 1].min() > 0.15
    assert ground[radius_px < 6, 0].mean() == pytest.approx(1, rel=0.5)


def test_a_band_of_a_resampled_map_equals_the_same_rows_of_the_whole(tissue: Tissue) -> None:
    for mpp in (0.25, 0.46, 0.5):
        whole = resample(tissue.concentrations, 0.5, mpp)
        band = resample(tissue.concentrations, 0.5, mpp, slice(301, 420))
        assert whole.shape[:2] == tissue.shape_at(mpp)
        assert np.allclose(band, whole[301:420], atol=0.02)


def test_resampling_keeps_amounts(tissue: Tissue) -> None:
    mean = tissue.concentrations.mean(axis=(0, 1))
    finer = resample(tissue.concentrations, 0.5, 0.25).mean(axis=(0, 1))
    assert np.allclose(finer, mean, rtol=0.01)


def test_smooth_noise_has_about_unit_deviation_and_the_shape_asked_for() -> None:
    field = smooth_noise(np.random.default_rng(0), (500, 300), 7.5)
    assert field.shape == (500, 300)
    assert abs(field.mean()) < 0.1
    assert 0.7 < field.std() < 1.3


@pytest.mark.parametrize("centre", CENTRES, ids=lambda c: c.name)
def test_light_follows_beer_and_lambert(centre, tissue: Tissue) -> None:  # type: ignore[no-untyped-def]
    part = tissue.concentrations[400:430, 400:430]
    od = (part.astype(np.float64) * centre.amounts) @ centre.stain_matrix
    expected = np.array(centre.white_level) * np.exp(-od)
    assert np.allclose(transmit(part, centre), expected, atol=0.05)
    assert np.abs(render(part, centre) - expected).max() <= 0.55
    assert np.allclose(np.linalg.norm(centre.stain_matrix, axis=1), 1)


def test_empty_glass_shows_the_white_level() -> None:
    centre = replace(CENTRES[0], white_level=(250, 240, 230))
    assert render(np.zeros((2, 2, 2), np.float32), centre)[0, 0].tolist() == [250, 240, 230]


def test_centres_differ_in_color_and_resolution() -> None:
    assert len({c.mpp for c in CENTRES}) >= 3
    assert len({c.name for c in CENTRES}) == len(CENTRES)
    nucleus = np.array([[[1.2, 0.3]]], np.float32)
    colors = [tuple(render(nucleus, centre)[0, 0].tolist()) for centre in CENTRES]
    for i, one in enumerate(colors):
        for other in colors[i + 1 :]:
            assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 10
