"""The report: whole in one file, escaped, failures first, bounded, and content with little."""

import csv
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.core.errors import ArtifactError
from pathology.slides import jpeg
from pathology.stain.outcome import COLUMNS as STAIN_COLUMNS
from pathology.stain.outcome import StainOutcome
from pathology.tiling.config import TilingConfig
from pathology.tiling.outcome import COLUMNS, SlideOutcome
from pathology.tiling.store import TileWriter, encode_tile
from pipelines.report import write_report

EVIL = "<script>alert('x')</script>\"&"
MAX_BYTES = 15_000_000


def done(slide_id: str, **more: object) -> SlideOutcome:
    known = {"num_grid": 40, "num_tissue": 20, "num_blur": 2, "num_tiles": 18, "plan": "level 0"}
    row = {
        "slide_id": slide_id,
        "status": "done",
        "mpp": 0.25,
        "achieved_mpp": 0.5,
        **known,
        **more,
    }
    return SlideOutcome.of_row(row)


def write_run(run: Path, rows: Sequence[SlideOutcome], record: object = None) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    with (run / "process_list.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(row.row() for row in rows)
    if record is not None:
        (run / "run.json").write_text(json.dumps(record))
    return run


def write_overlay(run: Path, slide_id: str, pixels: NDArray[np.uint8]) -> None:
    path = run / "overlays" / f"{slide_id}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(jpeg.encode(pixels, 90, "420"))


def write_store(run: Path, slide_id: str, tiles: NDArray[np.uint8], shift: int = 0) -> None:
    config = TilingConfig.model_validate({"tile": {"size_px": tiles.shape[1]}})
    writer = TileWriter(run / "tiles" / f"{slide_id}.zarr", tiles.shape[1], config.store)
    writer.add([encode_tile(tile, config.store) for tile in tiles])
    writer.flush()
    l0_xy = np.stack([np.arange(len(tiles)) * 256 + shift] * 2, axis=1)
    attributes = {
        "config": config.model_dump(mode="json"),
        "size_px": tiles.shape[1],
        "outcome": done(slide_id, num_tiles=len(tiles)).row(),
    }
    writer.finish({"l0_xy": l0_xy}, attributes, has_pixels=True)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


def plain(level: int, num: int = 8) -> NDArray[np.uint8]:
    return np.full((num, 64, 64, 3), level, np.uint8)


class Tags(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_first_words_are_research_use_only(tmp_path: Path) -> None:
    page = write_report(write_run(tmp_path, [done("a")])).read_text()
    body = re.sub(r"<[^>]+>", "", page[page.index("<body>") :]).strip()
    assert body.startswith("Research use only")


def test_everything_is_escaped(tmp_path: Path) -> None:
    rows = [
        done(EVIL, label=EVIL, case_id=EVIL, centre=EVIL, plan=EVIL, slide_path=EVIL, reason=EVIL),
        SlideOutcome(slide_id="b", status="failed", reason=f"{EVIL}. {EVIL}", error=EVIL),
    ]
    record = {"command": EVIL, "config": {EVIL: EVIL}, "machine": {EVIL: EVIL}, "version": EVIL}
    page = write_report(write_run(tmp_path, rows, record)).read_text()
    assert "&lt;script&gt;" in page
    assert "script" not in {tag for tag, _ in Tags(page).found}
    assert "<script" not in page


def test_failures_come_first_with_problem_and_remedy(tmp_path: Path) -> None:
    rows = [
        done("good"),
        SlideOutcome(slide_id="bad", status="failed", reason="no such file. Correct slide_path."),
    ]
    page = write_report(write_run(tmp_path, rows)).read_text()
    assert page.index("no such file") < page.index("Correct slide_path.") < page.index(">good<")
    assert 'id="slide-1"' in page and 'id="slide-2"' not in page


def test_no_failures_is_said(tmp_path: Path) -> None:
    assert "every slide has tiles" in write_report(write_run(tmp_path, [done("a")])).read_text()


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    write_run(tmp_path, [done("a")], {"command": "pathology tile a.csv"})
    write_overlay(tmp_path, "a", noise(300, 400))
    write_store(tmp_path, "a", plain(120))
    page = write_report(tmp_path).read_text()
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    tags = Tags(page).found
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    sources = [a["src"] for tag, a in tags if tag == "img"]
    assert len(sources) == 7
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert all((a["href"] or "").startswith("#") for tag, a in tags if tag == "a")


def test_same_tiles_stand_side_by_side(tmp_path: Path) -> None:
    run, stain_run = write_run(tmp_path / "run", [done("a")]), tmp_path / "stained"
    write_store(run, "a", plain(120))
    write_store(stain_run, "a", plain(90))
    outcome = StainOutcome(
        slide_id="a",
        status="done",
        num_tiles=8,
        num_passed_through=6,
        hematoxylin="0.6500 0.7000 0.2900",
        eosin="0.0700 0.9900 0.1100",
    )
    with (stain_run / "stain.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, STAIN_COLUMNS)
        writer.writeheader()
        writer.writerow(outcome.row())
    reference = {"matrix": [[0.56, 0.72, 0.41], [0.22, 0.8, 0.56]], "source": "textbook"}
    (stain_run / "run.json").write_text(json.dumps({"reference": reference}))
    page = write_report(run, stain_run=stain_run).read_text()
    assert page.count('alt="As scanned"') == page.count('alt="Normalized"') == 6
    assert "0.65 0.70 0.29" in page and "rgb(133, 127, 191)" in page and "textbook" in page
    assert "75% of the tiles were not normalized" in page


def test_tiles_of_another_tiling_are_not_shown_as_twins(tmp_path: Path) -> None:
    run, stain_run = write_run(tmp_path / "run", [done("a")]), tmp_path / "stained"
    write_store(run, "a", plain(120))
    write_store(stain_run, "a", plain(90), shift=7)
    page = write_report(run, stain_run=stain_run).read_text()
    assert 'alt="Normalized"' not in page and page.count('alt="Sample tiles"') == 6


def test_simulated_slides_are_called_so(tmp_path: Path) -> None:
    said = "Simulated slides, not patients"
    assert said in write_report(write_run(tmp_path / "a", [done("sim_0001")])).read_text()
    assert said not in write_report(write_run(tmp_path / "b", [done("a")])).read_text()


@pytest.mark.parametrize("record", [None, [], "text", {"config": 3, "machine": None, "inputs": 1}])
def test_a_poor_record_is_tolerated(tmp_path: Path, record: object) -> None:
    assert "Cohort" in write_report(write_run(tmp_path, [done("a")], record)).read_text()


def test_damaged_and_missing_files_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, [done("a"), done("b")])
    (tmp_path / "run.json").write_text("{ no json")
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "tiles" / "a.zarr").mkdir(parents=True)
    page = write_report(tmp_path).read_text()
    assert "no run record" in page and "<img" not in page


def test_without_a_table_the_stores_are_asked(tmp_path: Path) -> None:
    write_store(tmp_path, "a", plain(120))
    (tmp_path / "tiles" / "b.zarr").mkdir()
    assert ">a<" in write_report(tmp_path).read_text()
    with pytest.raises(ArtifactError, match="no run here"):
        write_report(tmp_path / "elsewhere")


def test_no_path_is_made_of_an_id_that_leads_elsewhere(tmp_path: Path) -> None:
    write_overlay(tmp_path, "secret", noise(50, 50))
    run = write_run(tmp_path / "run", [done("../../overlays/secret")])
    (run / "overlays").mkdir()
    assert "<img" not in write_report(run).read_text()


def test_the_page_goes_where_it_is_asked_to(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [done("a")])
    assert write_report(run) == run / "report.html"
    assert write_report(run, tmp_path / "x" / "page.html") == tmp_path / "x" / "page.html"
    assert write_report(run, tmp_path / "folder") == tmp_path / "folder" / "report.html"


@pytest.mark.slow
def test_fifty_slides_of_noise_stay_below_the_limit(tmp_path: Path) -> None:
    rows = [done(f"slide_{number}") for number in range(50)]
    run = write_run(tmp_path / "run", rows)
    picture, tiles = noise(1200, 1600), noise(8, 256, 256)
    write_overlay(run, "slide_0", picture)
    write_store(run, "slide_0", tiles)
    write_store(tmp_path / "stained", "slide_0", tiles)
    for row in rows[1:]:
        (run / "overlays" / f"{row.slide_id}.jpg").symlink_to(run / "overlays" / "slide_0.jpg")
        for folder in (run, tmp_path / "stained"):
            (folder / "tiles" / f"{row.slide_id}.zarr").symlink_to(
                folder / "tiles" / "slide_0.zarr"
            )
    page = write_report(run, stain_run=tmp_path / "stained")
    assert 3_000_000 < page.stat().st_size < MAX_BYTES
    assert page.read_text().count("<img") >= 50


def test_a_normalized_copy_that_is_not_there_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path, [done("a")])
    with pytest.raises(ArtifactError, match="nope: no such folder"):
        write_report(run, stain_run=tmp_path / "nope")
