"""How the table of slides is put into words for pages."""

from pathlib import Path

import pytest

from pipelines.overlay_table import SlideSaid, read_slides_said

HEAD = "slide_id,grade,prob_healthy,prob_adenoma,prob_carcinoma,problem"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("s,healthy,0.7,0.2,0.1,", SlideSaid("healthy", 0.7)),
        ("s,adenoma,0.2,0.375,0.425,", SlideSaid("adenoma or worse", 0.8)),
        ("s,carcinoma,0.1,0.3,0.6,", SlideSaid("carcinoma", 0.6)),
        ("s,,,,,no tissue was found", SlideSaid(problem="no tissue was found")),
    ],
)
def test_a_grade_in_the_middle_is_what_is_reached(
    tmp_path: Path, row: str, said: SlideSaid
) -> None:
    """Adenoma is decided at 0.8, though carcinoma by itself is the more probable of the two."""
    table = tmp_path / "p.slides.csv"
    table.write_text(f"{HEAD}\n{row}\n")
    assert read_slides_said(table) == {"s": said}
