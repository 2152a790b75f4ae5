"""A whole run from one file: slides and pictures of a microscope in, report out."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pathology.core.errors import ConfigError
from pathology.stain.contract import stain_of
from pathology.stain.load import load_model
from pathology.tiling.store import open_tiles
from pipelines.run import Choice, RunOptions, run_all
from tests.browser import browser_page, needs_chromium
from tests.conftest import tissue_pixels, write_pyramid
from tests.pipelines.small_encoder import SMALLEST, write_weights

NUM, EDGE = 12, 128
LABELS = ("benign", "malignant")
PARTS = ("train", "train", "train", "val", "test", "test")
STAGES = [
    "tile", "stain", "features", "weak", "predict", "evaluate", "adapt", "microscope", "report"
]  # fmt: skip
SETTINGS = {
    "manifest": "slides.csv",
    "out": "run",
    "tile": {"tile": {"size_px": EDGE, "mpp": 0.5}, "tissue": {"method": "none"}},
    "stain": {"method": "macenko"},
    "features": {"encoder": SMALLEST},
    "encoder_weights": "encoder.pt",
    "weak": {"epochs": 3, "epoch_tiles": 64, "slides_per_step": 4, "tiles_per_slide": 8},
    "microscope": {"images": "pictures.csv"},
    "adapt": {"encoder": SMALLEST, "steps": 20, "batch_size": 16, "label_confidence": 0.5},
}


def write_slides(folder: Path) -> None:
    """Slides of which half are dark in their left half, and pictures of the same, a little red."""
    slides, pictures = [], []
    for i in range(NUM):
        grade, part = i % 2, PARTS[i // 2]
        pixels = tissue_pixels(512, 384, seed=i)
        pixels[:, :256] //= 1 + grade
        write_pyramid(folder / f"s{i}.tif", pixels, mpp=0.5)
        slides.append([f"s{i}", f"c{i}", f"s{i}.tif", LABELS[grade], "", part, "wsi",
                       f"centre{i // 2 % 2}"])  # fmt: skip
        seen = tissue_pixels(EDGE, EDGE, seed=100 + i) // (1 + grade)
        seen = (seen * np.array([1.0, 0.85, 0.85])).astype(np.uint8)
        Image.fromarray(seen).save(folder / f"p{i}.png")
        pictures.append([f"p{i}", f"d{i}", f"p{i}.png", LABELS[grade], 0.5, part, "microscope",
                         ""])  # fmt: skip
    (folder / "broken.tif").write_bytes(b"no slide")
    slides.append(["broken", "cb", "broken.tif", "benign", "", "test", "wsi", "centre0"])
    heads = ["slide_id", "case_id", "slide_path", "label", "mpp", "split", "domain", "centre"]
    for name, rows in (("slides", slides), ("pictures", pictures)):
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([heads, *rows])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings file of a run that was done once."""
    folder = tmp_path_factory.mktemp("run")
    write_slides(folder)
    write_weights(folder / "encoder.pt", name=SMALLEST)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    assert run(path) == 1  # one slide is broken
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def run(settings: Path, *overrides: str, workers: int = 1, **choice: object) -> int:
    options = RunOptions(workers=workers, device="cpu")
    return run_all(settings, overrides, options, Choice(**choice))  # type: ignore[arg-type]


def finished(settings: Path) -> dict[str, str]:
    record = json.loads((settings.parent / "run" / "stages.json").read_text())
    return {name: stage["finished"] for name, stage in record["stages"].items()}


def test_everything_is_there_and_the_broken_slide_does_not_vanish(settings: Path) -> None:
    out = settings.parent / "run"
    assert list(finished(settings)) == STAGES
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.index("Research use only") < page.index("<h1>Run report</h1>")
    for said in ("Grades of slides and tiles", "At the microscope", "Stages of the run",
                 "Model card: dman+mcc", "Limits", "slides alone", "broken",
                 "of the part &#39;test&#39; alone"):  # fmt: skip
        assert said in page, said
    assert len(page) < 15e6
    slides = {row["slide_id"]: row for row in rows_of(out / "predictions.slides.csv")}
    assert "Check that the file is a slide" in slides["broken"]["problem"]
    assert sum(row["grade"] in LABELS for row in slides.values()) == NUM
    judged = json.loads((out / "microscope" / "evaluation_dman+mcc" / "metrics.json").read_text())
    assert judged["part"] == "test"
    assert judged["slide"]["all"]["num_cases"] == 4
    seen = json.loads((out / "microscope" / "dman+mcc.run" / "run.json").read_text())["card"]
    assert seen["num_slides"]["target"] == 8  # those marked test are not adapted to


@needs_chromium
@pytest.mark.browser
def test_the_report_in_a_browser(settings: Path, tmp_path: Path) -> None:
    """It needs nothing else, shows what it should, fits the window, and prints."""
    report = settings.parent / "run" / "report.html"
    asked, complaints = [], []
    with browser_page(tmp_path / "profile", 1100, 900) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto(report.as_uri())
        assert page.locator("body").inner_text().startswith("Research use only")
        heads = page.locator("h2").all_inner_texts()
        assert {"What was run", "Grades of slides and tiles", "At the microscope", "Limits"} <= set(
            heads
        )
        pictures = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.src])")
        assert len(pictures) > 20
        assert all(width > 0 for width, _ in pictures)
        links = page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => "
            "document.getElementById(a.getAttribute('href').slice(1)) !== null)"
        )
        assert links and all(links)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.screenshot(path=tmp_path / "report.png", full_page=True)
        printed = page.pdf(path=tmp_path / "report.pdf")
        assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") > 2
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert not complaints


def test_a_second_run_does_only_what_changed(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = finished(settings)
    assert run(settings) == 1
    kept = [name for name in STAGES if name not in ("tile", "stain", "features", "report")]
    assert {name: finished(settings)[name] for name in kept} == {n: before[n] for n in kept}
    changed = ("adapt.steps=25", "microscope.mpp=auto")  # no picture lacks it: nothing to guess
    assert run(settings, *changed, is_dry=True) == 1
    said = capsys.readouterr().out
    assert "evaluate: kept" in said
    assert "adapt: to do, its settings or inputs changed" in said
    assert "microscope: to do, after adapt" in said
    with pytest.raises(ConfigError, match="no stage 'paint'"):
        run(settings, until="paint")


def test_weights_of_slides_are_a_matter_of_adaptation_alone(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = settings.parent / "slides.csv"
    before = table.read_text()
    head, *rows = before.splitlines()
    try:
        table.write_text("\n".join([f"{head},weight", *(f"{row},{3 + i}" for i, row in
                                    enumerate(rows))]) + "\n")  # fmt: skip
        run(settings, is_dry=True)
        said = capsys.readouterr().out
        assert "weak: kept" in said and "adapt: to do, its settings or inputs changed" in said
        table.write_text("\n".join([f"{head},weight", *(f"{row},x" for row in rows)]) + "\n")
        run(settings, is_dry=True)
        said = capsys.readouterr().out
        assert "adapt: failed, ConfigError: s0: its weight in the manifest is 'x'" in said
    finally:
        table.write_text(before)


def test_slides_without_labels_are_tiled_and_reported(settings: Path, tmp_path: Path) -> None:
    rows = rows_of(settings.parent / "slides.csv")[:2]
    with (tmp_path / "slides.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["slide_id", "slide_path"])
        writer.writerows([r["slide_id"], settings.parent / r["slide_path"]] for r in rows)
    (tmp_path / "run.yaml").write_text("manifest: slides.csv\nout: out\n")
    command = [sys.executable, "-m", "pipelines", "run", str(tmp_path / "run.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "note: the slides have no labels: nothing is trained" in done.stdout
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>Tiling report</h1>" in page
    assert "At the microscope" not in page


def test_files_that_the_settings_name_are_looked_for_first(settings: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv: no such file or folder, and the settings"):
        run(settings, "microscope.images=gone.csv")
    with pytest.raises(ConfigError, match="pathology init"):
        run(settings.with_name("none.yaml"))


LEARNED = {
    "steps": 2, "tile_px": EDGE, "tiles_per_slide": 4, "crop_px": 16, "batch_size": 2,
    "generator": {"width": 4, "num_blocks": 1}, "discriminator": {"width": 4},
    "student": {"steps": 2, "width": 4},
}  # fmt: skip


@pytest.mark.parametrize("learned", [None, LEARNED])
def test_the_style_of_a_centre_is_taken_for_all(
    settings: Path, tmp_path: Path, learned: dict[str, object] | None
) -> None:
    out = tmp_path / "run"
    words = [f"out={out}", "stain_target=centre1", f"stain_train={json.dumps(learned)}"]
    run(settings, *words, workers=0, until="stain")
    record = json.loads((out / "stages.json").read_text())["stages"]
    assert list(record) == ["tile", "style", "stain"]
    model = load_model(out / ("style.json" if learned is None else "style.pt"), "macenko", "cpu")
    assert model.source == "centre1"
    names = {path.name for path in (out / "stain" / "tiles").glob("*.zarr")}
    assert names == {f"s{i}.zarr" for i in range(NUM)}
    attributes = open_tiles(out / "stain" / "tiles" / "s0.zarr").attributes
    assert stain_of(attributes) == model.fingerprint
    run(settings, *words, workers=0, until="stain")
    again = json.loads((out / "stages.json").read_text())["stages"]
    assert again["style"] == record["style"]  # kept


def test_a_style_that_cannot_be_taken_is_refused_first(settings: Path) -> None:
    for words, said in (
        (["stain=null", "stain_target=centre0"], "need stain"),
        (["stain_target=centre7"], "Centres of the table of slides, test apart: centre0, centre1"),
        (["stain_train={}"], "stain_train needs stain_target"),
        (["stain_target=centre0", "stain_model=run.yaml"], "give one of them"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(settings, *words)
