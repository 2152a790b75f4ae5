"""The reading plan: which plane, how many pixels, which resolution comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathology.core.errors import WrongResolution
from pathology.core.geometry import TileSpec
from pathology.slides.plan import ReadPlan, levels_of_sizes, plan_tiles

LEVELS = levels_of_sizes([(32768, 24576), (8192, 6144), (2048, 1536)])
FLAT = levels_of_sizes([(4000, 3000)])


def plan(mpp: float, spec: TileSpec, max_reduction: int = 8) -> ReadPlan:
    return plan_tiles("s", LEVELS, max_reduction, (mpp, mpp), spec)


def test_a_40x_slide_at_half_resolution_is_scaled_while_it_is_decoded() -> None:
    found = plan(0.25, TileSpec(size_px=256, mpp=0.5))
    assert (found.plane.level, found.plane.reduction, found.l0_size) == (0, 2, (512, 512))
    assert not found.is_resampled
    assert found.achieved_mpp == (0.5, 0.5)


def test_an_odd_resolution_is_scaled_to_the_exact_size() -> None:
    found = plan(0.2527, TileSpec(size_px=256, mpp=0.5))
    assert found.l0_size == (507, 507)
    assert found.sentence() == (
        "0.2527 um/px: read level 0, 507 px, scale to 256 px = 0.5005 um/px"
    )


def test_a_resolution_within_the_tolerance_is_taken_as_stored() -> None:
    found = plan(0.499, TileSpec(size_px=256, mpp=0.5))
    assert found.sentence() == "0.499 um/px: read level 0, 256 px, as stored = 0.4990 um/px"
    exact = plan(0.499, TileSpec(size_px=256, mpp=0.5, mpp_tolerance=0))
    assert exact.read_px == (257, 257)


def test_a_stored_level_is_preferred_to_a_finer_one_scaled_down() -> None:
    assert plan(0.25, TileSpec(mpp=1.0)).plane.level == 1
    assert plan(0.25, TileSpec(mpp=4.0)).plane.level == 2
    found = plan(0.25, TileSpec(mpp=2.0))
    assert (found.plane.level, found.plane.reduction) == (1, 2)


def test_a_reduction_that_leaves_a_little_to_scale_is_not_used() -> None:
    assert plan(0.23, TileSpec(mpp=0.5)).plane.reduction == 1  # 2 would leave a factor of 1.09
    assert plan(0.20, TileSpec(mpp=0.5)).plane.reduction == 2  # 1.25


def test_pixels_that_are_not_square_give_square_tiles() -> None:
    found = plan_tiles("s", FLAT, 8, (0.25, 0.5), TileSpec(size_px=256, mpp=1.0))
    assert found.l0_size == (1024, 512)
    assert found.achieved_mpp == pytest.approx((1.0, 1.0))


def test_a_slide_too_coarse_is_refused_and_a_little_coarser_is_scaled_up() -> None:
    with pytest.raises(WrongResolution, match=r"finest resolution is 1 um/px, too coarse"):
        plan_tiles("s", FLAT, 8, (1.0, 1.0), TileSpec(mpp=0.5))
    found = plan_tiles("s", FLAT, 8, (0.62, 0.62), TileSpec(size_px=256, mpp=0.5))
    assert found.read_px == (206, 206)


def test_strides_follow_the_scale() -> None:
    found = plan(0.25, TileSpec(size_px=256, mpp=0.5, stride_px=128))
    assert found.l0_stride == (256, 256)


@given(
    mpp=st.floats(0.1, 1.0),
    target=st.floats(0.1, 8.0),
    size_px=st.sampled_from([64, 224, 256, 512]),
)
def test_the_achieved_resolution_is_close_and_never_from_a_coarser_plane(
    mpp: float, target: float, size_px: int
) -> None:
    spec = TileSpec(size_px=size_px, mpp=target)
    if mpp > target * spec.max_upsample:
        return
    found = plan_tiles("s", LEVELS, 8, (mpp, mpp), spec)
    assert found.achieved_mpp[0] == pytest.approx(
        target, rel=max(0.01, 1.01 * 0.5 / found.read_px[0])
    )
    assert found.plane.step[0] * mpp <= target * 1.01 or found.plane.step == (1.0, 1.0)
    assert found.l0_size[0] * mpp / size_px == pytest.approx(found.achieved_mpp[0], rel=1e-9)


def test_downsamples_within_a_pixel_are_whole() -> None:
    levels = levels_of_sizes([(46001, 32914), (11500, 8228), (2875, 2057)])
    assert [level.downsample for level in levels] == [(1.0, 1.0), (4.0, 4.0), (16.0, 16.0)]
    assert levels_of_sizes([(1000, 1000), (300, 300)])[1].downsample[0] == pytest.approx(10 / 3)


def test_the_tolerance_holds_where_nothing_may_be_scaled_up() -> None:
    spec = TileSpec(size_px=256, mpp=0.5, max_upsample=1)
    assert plan_tiles("s", FLAT, 8, (0.5031, 0.5031), spec).read_px == (256, 256)
    with pytest.raises(WrongResolution):
        plan_tiles("s", FLAT, 8, (0.506, 0.506), spec)
