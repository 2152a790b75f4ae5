"""The stain page and the rules behind it: the best marked, flags by name, whole in one file."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pathology.evaluation.stain_config import FlagConfig, StainEvaluationConfig
from pathology.evaluation.stain_flags import flags_of
from pathology.evaluation.stain_measures import MEASURES, Measure
from pathology.evaluation.stain_page import (
    ModelFacts,
    Panel,
    Picture,
    StainFindings,
    render_stain_page,
)
from pathology.evaluation.stain_scores import SlideScores
from pathology.evaluation.stain_summary import (
    PairScore,
    best_of,
    bootstrap_interval,
    means_by_centre,
    summarize,
)
from pathology.slides import jpeg

EVIL = "<script>alert('x')</script>\"&"
CONFIG = StainEvaluationConfig(num_resamples=500)
SOUND = SlideScores(
    model="a",
    slide_id="s",
    passed_share=0.0,
    structure_ssim=0.97,
    gradient=0.99,
    h_angle_before=9.0,
    h_angle=2.0,
    e_angle_before=7.0,
    e_angle=1.0,
    color_distance_before=14.0,
    color_distance=3.0,
    seam_ratio_before=1.02,
    seam_ratio=1.02,
    seam_offset_before=1.1,
    seam_offset=1.1,
    nuclei_before=100,
    nuclei_after=101,
    nuclei_lost=2,
    nuclei_invented=3,
)


def scores(**changed: object) -> SlideScores:
    return SlideScores(**{**vars(SOUND), **changed})


def measure(name: str) -> Measure:
    return next(each for each in MEASURES if each.name == name)


def findings(slides: list[SlideScores], pairs: list[PairScore] | None = None, **more: object):
    names = list(dict.fromkeys(row.model for row in slides))
    return StainFindings(
        models=[ModelFacts(name, "macenko", "a target", "0123456789ab") for name in names],
        slides=slides,
        pairs=pairs or [],
        summary=summarize(slides, pairs or [], CONFIG),
        **more,
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"structure_ssim": 0.6}, ["structure SSIM 0.60"]),
        ({"gradient": 0.5}, ["edges moved, gradient correlation 0.50"]),
        ({"nuclei_lost": 30}, ["30% of nuclei lost"]),
        ({"nuclei_invented": 40}, ["40% of nuclei invented"]),
        ({"nuclei_invented": 3, "nuclei_before": 5}, []),  # too few to say
        ({"passed_share": 0.5}, ["50% of the tiles passed through unchanged"]),
        ({"h_angle": 12.0}, ["hematoxylin moved away from the target, 9.0° to 12.0°"]),
        ({"e_angle": 8.5}, ["eosin moved away from the target, 7.0° to 8.5°"]),
        (
            {"color_distance": 16.5},
            ["colors moved away from the target, 14.0 to 16.5"],
        ),
        ({"seam_ratio": 1.5}, ["seams, steps at borders 1.50 of those inside"]),
        ({"seam_offset": 3.0}, ["tiles of different color, offset 3.00 of that inside"]),
        ({"problem": "one stain", "passed_share": 1.0}, ["not normalized: one stain"]),
    ],
)
def test_each_rule_has_its_words(changed: dict[str, object], said: list[str]) -> None:
    assert flags_of(scores(**changed), FlagConfig()) == said


def test_what_is_not_known_is_not_flagged() -> None:
    assert flags_of(SlideScores(model="a", slide_id="s"), FlagConfig()) == []


def test_limits_are_settings() -> None:
    strict = FlagConfig(min_structure_ssim=0.99)
    assert flags_of(SOUND, strict) == ["structure SSIM 0.97"]


def test_the_best_is_marked_and_none_may_not_win_by_doing_nothing() -> None:
    rows = [
        scores(model="none", structure_ssim=1.0, color_distance=14.0),
        scores(model="a", structure_ssim=0.95, color_distance=3.0),
        scores(model="b", structure_ssim=0.90, color_distance=2.0),
    ]
    best = {(row.measure, row.model) for row in summarize(rows, [], CONFIG) if row.is_best}
    assert ("structure_ssim", "a") in best and ("color_distance", "b") in best
    assert not any(model == "none" for _, model in best)
    assert best_of({"none": 0.8, "a": 0.7}, measure("ssim")) == {"none"}
    assert best_of({"a": 0.95, "b": 1.04, "none": 1.0}, measure("nuclei_ratio")) == {"b"}


def test_intervals_need_six_units_and_hold_the_mean() -> None:
    values = np.random.default_rng(1).normal(5, 1, 40)
    terms = np.stack([values, np.ones(40)], axis=1)
    assert bootstrap_interval(terms[:5], 500, 0) is None
    low, high = bootstrap_interval(terms, 4000, 0) or (0, 0)
    half = 1.96 * values.std() / np.sqrt(40)
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)
    assert bootstrap_interval(terms, 500, 0) == bootstrap_interval(terms, 500, 0)


def test_nuclei_add_up_over_slides() -> None:
    rows = [
        scores(slide_id="large", nuclei_before=1000, nuclei_after=1000),
        scores(slide_id="small", nuclei_before=2, nuclei_after=4),
        scores(slide_id="none", nuclei_before=0, nuclei_after=0),
    ]
    found = {row.measure: row.mean for row in summarize(rows, [], CONFIG)}
    assert found["nuclei_ratio"] == pytest.approx(1004 / 1002)


def test_speeds_add_up_over_tiles() -> None:
    rows = [
        scores(slide_id="fast", num_tiles=100, tiles_per_s=1000.0),
        scores(slide_id="slow", num_tiles=100, tiles_per_s=250.0),
        scores(slide_id="passed", num_tiles=100),
    ]
    found = {row.measure: row.mean for row in summarize(rows, [], CONFIG)}
    assert found["tiles_per_s"] == pytest.approx(200 / 0.5)


def test_seams_are_best_where_the_source_has_them_too() -> None:
    means = {"none": 1.2, "a": 1.19, "smooth": 1.0}
    assert best_of(means, measure("seam_ratio")) == {"a"}


def test_pairs_are_averaged_over_pairs_and_resampled_by_slide_where_there_are_six() -> None:
    few = [PairScore("a", "s", str(n), 0.5 + n / 100, 20.0) for n in range(10)]
    many = [PairScore("a", str(n // 2), str(n), 0.5, 20.0) for n in range(12)]
    one = next(row for row in summarize([], few, CONFIG) if row.measure == "ssim")
    assert (one.unit, one.num_units, round(one.mean, 3)) == ("pairs", 10, 0.545)
    other = next(row for row in summarize([], many, CONFIG) if row.measure == "ssim")
    assert (other.unit, other.num_units, other.low, other.high) == ("slides", 6, 0.5, 0.5)


def test_centres_have_means_of_their_own() -> None:
    rows = [
        scores(centre="x", h_angle=1.0),
        scores(centre="x", h_angle=3.0),
        scores(centre="y", h_angle=7.0),
    ]
    assert means_by_centre(rows)["h_angle"] == {"a": {"x": 2.0, "y": 7.0}}
    assert means_by_centre(rows[:2]) == {}


class Tags(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def rich_page() -> str:
    """A page with all that it can hold, every text of it hostile."""
    picture = jpeg.encode(np.full((64, 64, 3), 120, np.uint8), 80, "420")
    names = ("none", EVIL, "b")
    slides = [
        scores(model=model, slide_id=f"{EVIL}{n}", centre=f"{EVIL}{n % 2}", flags=EVIL)
        for model in names
        for n in range(7)
    ]
    pairs = [PairScore(model, f"{EVIL}{n}", EVIL, 0.7, 20) for model in names for n in range(2)]
    lab = np.random.default_rng(0).normal(40, 9, (500, 3)).astype(np.float32)
    return render_stain_page(
        findings(
            slides,
            pairs,
            panels=[Panel(EVIL, EVIL, [Picture("source", picture), Picture("target", picture)])],
            colors={"target": lab, "source": lab, EVIL: lab + 3, "$b$": lab},
            target_spread=1.5,
            problems=[(EVIL, EVIL)],
            record={"command": EVIL, "config": {EVIL: EVIL}, "version": EVIL},
        )
    )


def test_everything_is_escaped_and_the_page_needs_nothing_else() -> None:
    page = rich_page()
    tags = Tags(page).found
    assert "&lt;script&gt;" in page and "<script" not in page
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    sources = [a["src"] for tag, a in tags if tag == "img"]
    assert len(sources) == 2
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)


def test_the_first_words_are_research_use_only() -> None:
    page = render_stain_page(findings([SOUND]))
    body = re.sub(r"<[^>]+>", "", page[page.index("<body>") :]).strip()
    assert body.startswith("Research use only")


def test_a_page_of_little_says_no_more_than_that() -> None:
    page = render_stain_page(findings([SlideScores(model="a", slide_id="s")]))
    assert "By centre" not in page and "<svg" not in page and "Pairs, by slide" not in page


def test_flagged_rows_come_first_and_none_has_no_row() -> None:
    rows = [
        scores(slide_id="fine"),
        scores(slide_id="bad", flags="30% of nuclei lost"),
        scores(model="none", slide_id="fine"),
    ]
    run = findings(rows)
    assert [(row.slide_id, row.model) for row in run.ranked] == [("bad", "a"), ("fine", "a")]
    page = render_stain_page(run)
    assert "14.0 → 3.0" in page and "9.0 → 2.0" in page


def test_the_best_cell_is_green() -> None:
    rows = [scores(model="a", color_distance=3.0), scores(model="b", color_distance=5.0)]
    page = render_stain_page(findings(rows))
    cells = re.findall(r'<td class="num( best)?">([\d.]+)', page)
    assert (" best", "3.0") in cells and ("", "5.0") in cells
