"""Who is believed about microns per pixel, and what is refused."""

from __future__ import annotations

import math

import pytest

from pathology.core.errors import MissingSpacing, SlideError
from pathology.slides.resolution import Spacing, decide_spacing, mpp_of_resolution_tag

SLIDE, TIFF = Spacing((0.25, 0.25), "slide"), Spacing((0.5, 0.5), "tiff")
SCREEN = Spacing((352.8, 352.8), "tiff")  # 72 dots per inch


def test_the_manifest_is_believed_first_then_the_slide_then_the_tags() -> None:
    assert decide_spacing("s", 0.3, [SLIDE, TIFF], 0.4).source == "manifest"
    assert decide_spacing("s", None, [SLIDE, TIFF], 0.4) == SLIDE
    assert decide_spacing("s", None, [TIFF], 0.4) == TIFF
    assert decide_spacing("s", None, [], 0.4) == Spacing((0.4, 0.4), "assumed")


def test_a_screen_resolution_is_no_resolution() -> None:
    assert decide_spacing("s", None, [SCREEN, TIFF], None) == TIFF
    assert decide_spacing("s", None, [SCREEN], 0.4).source == "assumed"
    with pytest.raises(MissingSpacing, match=r"tiff says 352.8 um/px: implausible.*--assume-mpp"):
        decide_spacing("s", None, [SCREEN], None)


@pytest.mark.parametrize("mpp", [0.0, -1.0, 250.0, 0.019, 10.1, math.nan, math.inf])
def test_an_implausible_manifest_is_refused(mpp: float) -> None:
    with pytest.raises(SlideError, match=r"outside 0.02-10.0 um/px"):
        decide_spacing("s", mpp, [SLIDE], None)


@pytest.mark.parametrize("mpp", [0.0, math.nan, math.inf, -0.5])
def test_nonsense_in_the_file_is_passed_over(mpp: float) -> None:
    assert decide_spacing("s", None, [Spacing((mpp, mpp), "slide"), TIFF], None) == TIFF


def test_resolution_tags() -> None:
    assert mpp_of_resolution_tag(40000, 3) == 0.25
    assert mpp_of_resolution_tag(72, 2) == pytest.approx(352.78, abs=0.01)
    assert mpp_of_resolution_tag(100, 1) is None
    assert mpp_of_resolution_tag(0, 3) is None
