"""What is drawn lies where it should, in the colors it should have."""

import numpy as np
import pytest

from pathology.inference.field_grade import FieldGrade
from pathology.inference.lettering import lettered, put_text
from pathology.inference.overlay import (
    BENIGN,
    COLORS,
    HEAT_SHARE,
    MALIGNANT,
    Stated,
    draw_overlay,
    headline,
    scale_bar,
    with_heat,
)

GREY = np.full((240, 400, 3), 128, np.uint8)
GRADES = ("benign", "atypical", "malignant")


def field(**more: object) -> FieldGrade:
    values = {
        "xy": np.array([[0, 40], [200, 40], [120, 40]]), "edge": 80.0,
        "states": ("graded", "graded", "blurred"),
        "probability_NC": np.array([[1.0, 0, 0], [0, 0, 1.0], [np.nan] * 3]),
        "verdict": "graded", "mpp": 0.5, "grade": 2, "probability_C": (0.1, 0.2, 0.7),
    }  # fmt: skip
    return FieldGrade(**{**values, **more})


def test_heat_is_where_grades_are_and_in_their_colors() -> None:
    tinted = with_heat(GREY, field())
    for x, color in ((40, BENIGN), (240, MALIGNANT)):
        wanted = (1 - HEAT_SHARE) * 128 + HEAT_SHARE * np.array(color)
        assert np.abs(tinted[80, x] - wanted).max() <= 2
    assert (tinted[80, 160] == 128).all() and (tinted[200] == 128).all()
    assert (GREY == 128).all()  # the frame itself is kept as it is


def test_where_tiles_overlap_their_mean_is_shown() -> None:
    both = field(xy=np.array([[0, 40], [40, 40], [300, 40]]))
    middle = with_heat(GREY, both)[80, 60]
    wanted = (1 - HEAT_SHARE) * 128 + HEAT_SHARE * COLORS[128].astype(float)
    assert np.abs(middle - wanted).max() <= 2


def test_the_notice_comes_first_on_every_picture() -> None:
    for found in (field(), field(verdict="glass", states=(), xy=np.zeros((0, 2), int))):
        drawn = draw_overlay(GREY, found, GRADES, Stated(100, 12, 3, "SIMULATED"))
        ink = lettered("RESEARCH USE ONLY  ·  SIMULATED", 11)
        part = drawn[5 : 5 + ink.shape[0], 5 : 5 + ink.shape[1]].mean(axis=2)
        assert np.corrcoef(part.ravel(), ink.ravel())[0, 1] > 0.95


def test_headlines_say_grade_or_reason() -> None:
    assert headline(field(), GRADES)[0] == "malignant  70%  (2 of 3 tiles)"
    whole = {"states": ("graded",) * 3, "grade": 1, "probability_C": (0.42, 0.25, 0.33)}
    decided = headline(field(**whole), GRADES)[0]  # by a slide rule: not the most probable
    assert decided == "atypical  25%, with grades beyond 58%"
    assert headline(field(verdict="glass"), GRADES)[0] == "not graded: glass only"
    assert headline(field(verdict="waiting", reason="so"), GRADES)[0] == "not graded: so"


@pytest.mark.parametrize("mpp", [0.06, 0.1725, 0.345, 1.0, 6.0])
def test_scale_bars_are_round_and_true(mpp: float) -> None:
    length_px, length_um = scale_bar(1920, mpp)
    assert abs(length_px * mpp / length_um - 1) < 0.02
    assert 1920 / 16 < length_px <= 1920 / 6 + 1
    assert f"{length_um:e}"[0] in "125"


def test_the_bar_is_drawn_as_long_as_it_says() -> None:
    drawn = draw_overlay(GREY, field(mpp=0.5), GRADES, Stated(100, 12, 0))
    row = (drawn[240 - 12] == 255).all(axis=1)
    assert abs(int(row.sum()) * 0.5 - 20) <= 1  # a sixth of 400 px is 33 um: 20 um


def test_text_beyond_the_edge_is_cut_off() -> None:
    small = np.zeros((10, 30, 3), np.uint8)
    put_text(small, "a long line of text", (-5, -5), 12)
    put_text(small, "x", (200, 200), 12)
    assert small.any()
