"""What is said of slides: failures with remedies, warnings, and the filters' sums."""

import pytest

from pathology.evaluation.chart import steps_chart
from pathology.evaluation.remarks import (
    Step,
    failures_of,
    first_looks,
    is_simulated,
    stain_remarks,
    steps_of,
    tiling_remarks,
)
from pathology.evaluation.report import duration, file_size, flatten, run_facts, stain_color
from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import SlideOutcome


def test_failed_slides_come_before_empty_ones_and_done_ones_are_left_out() -> None:
    rows = [
        SlideOutcome(slide_id="a", status="done", num_tiles=5),
        SlideOutcome(slide_id="b", status="empty", reason="none of 9 tiles: look at the overlay"),
        SlideOutcome(slide_id="c", status="failed", reason="no such file. Correct slide_path."),
        SlideOutcome(slide_id="d", status="failed", reason="unexpected X", error="Traceback"),
        SlideOutcome(slide_id="e", status="pending"),
    ]
    found = failures_of(rows)
    assert [failure.slide_id for failure in found] == ["c", "d", "b", "e"]
    assert found[0][2:4] == ("no such file", "Correct slide_path.")
    assert "report it" in found[1].remedy and found[1].traceback == "Traceback"
    assert found[2][2:4] == ("none of 9 tiles", "Look at the overlay")
    assert all(failure.problem and failure.remedy for failure in found)


def test_much_blur_an_assumed_resolution_and_few_tiles_are_remarked() -> None:
    row = SlideOutcome(
        slide_id="a",
        status="done",
        mpp=0.25,
        mpp_source="assumed",
        target_mpp=0.5,
        achieved_mpp=0.53,
        num_tissue=100,
        num_blur=40,
        num_pen=1,
        num_tiles=1,
    )
    said = " | ".join(tiling_remarks(row))
    assert "assumed" in said and "40% of the tissue tiles are out of focus" in said
    assert "6.0% coarser than asked" in said and "Only 1 tile is left" in said
    assert "pen" not in said


def test_a_good_slide_has_no_remarks() -> None:
    row = SlideOutcome(
        slide_id="a",
        status="done",
        mpp=0.5,
        mpp_source="slide",
        num_tissue=100,
        num_blur=2,
        num_tiles=98,
    )
    stain = StainOutcome(
        slide_id="a",
        status="done",
        num_tiles=98,
        h_shift=4.0,
        e_shift=6.0,
        h_gain=1.1,
        e_gain=0.8,
    )
    assert tiling_remarks(row) + stain_remarks(stain) + stain_remarks(None) == []


def test_a_doubtful_normalization_is_remarked() -> None:
    stain = StainOutcome(
        slide_id="a",
        status="done",
        num_tiles=10,
        num_passed_through=5,
        h_shift=31.0,
        e_shift=1.0,
        h_gain=1.0,
        e_gain=3.5,
    )
    said = " | ".join(stain_remarks(stain))
    assert "50% of the tiles were not normalized" in said
    assert "Hematoxylin is 31° away" in said and "Eosin was changed 3.5-fold" in said
    failed = StainOutcome(slide_id="a", status="failed", reason="full disk")
    assert stain_remarks(failed) == ["Stain normalization failed: full disk"]


def test_steps_add_up_and_skip_filters_that_did_not_run() -> None:
    one = SlideOutcome(
        slide_id="a",
        status="done",
        num_grid=100,
        num_tissue=60,
        num_white=1,
        num_black=2,
        num_pen=3,
        num_blur=4,
        num_tiles=50,
    )
    other = SlideOutcome(slide_id="b", status="failed")
    assert [step.num_tiles for step in steps_of([one, other])] == [100, 60, 59, 57, 54, 50]
    coords = SlideOutcome(slide_id="a", status="done", num_grid=9, num_tissue=4, num_tiles=4)
    assert steps_of([coords]) == [Step("on the grid", 9), Step("with tissue", 4)]
    assert steps_of([other]) == []


def test_the_chart_names_nothing_outside() -> None:
    svg = steps_chart([Step("on the grid", 1200), Step('<b>"x"', 0)])
    assert svg.startswith('<svg role="img"') and svg.rstrip().endswith("</svg>")
    assert "http" not in svg and "1,200" in svg
    assert "<b>" not in svg


@pytest.mark.parametrize(
    ("slide_id", "record", "expected"),
    [
        ("sim_001", {}, True),
        ("a", {"simulated": True}, True),
        ("a", {"inputs": {"simulated": True}}, True),
        ("a", {"inputs": None}, False),
        ("simple", {}, False),
    ],
)
def test_simulated_slides_are_known(
    slide_id: str, record: dict[str, object], expected: bool
) -> None:
    assert is_simulated([SlideOutcome(slide_id=slide_id, status="done")], record) is expected


def test_words_for_numbers() -> None:
    assert (duration(7.25), duration(754), duration(7300)) == ("7.2 s", "12 min 34 s", "2 h 1 min")
    assert (file_size(1_938_955), file_size(0), file_size(None)) == ("1.94 MB", "0 B", "")
    assert stain_color("0.65 0.70 0.29") == "rgb(133, 127, 191)"
    assert [stain_color(odd) for odd in ("", "1 2", "x y z", "nan 1 1")] == [""] * 4
    assert list(flatten({"a": {"b": 1}, "c": None, "d": [2]})) == [("a.b", "1"), ("d", "[2]")]


def test_a_record_may_lack_anything() -> None:
    assert run_facts({}) == []
    assert run_facts({"machine": "a laptop", "seconds": "x", "inputs": [1]}) == [
        ("Input", ": [1]"),
        ("Machine", "a laptop"),
    ]
    facts = dict(run_facts({"version": "1", "commit": "0123456789abcdef+", "seconds": 61}))
    assert facts["Version"] == "1, commit 0123456789ab with local changes"
    assert facts["Time"] == "1 min 1 s"


def test_what_is_said_of_most_slides_is_told_once() -> None:
    remarks = {f"s{i}": [f"eosin is {20 + i}° away"] for i in range(9)}
    remarks |= {"s3": [*remarks["s3"], "40% is pen"], "t": [], "u": ["40% is pen"]}
    assert first_looks(remarks) == [
        ("9 of 11 slides", "eosin is 20° away (s0; the others alike)"),
        ("s3", "40% is pen"),
        ("u", "40% is pen"),
    ]
    few = {f"s{i}": ["odd"] for i in range(3)}
    assert first_looks(few) == [(f"s{i}", "odd") for i in range(3)]
