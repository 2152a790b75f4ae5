"""Pictures and stores as PNG files: names, pixels, resuming, and one bad picture costs itself."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pathology.core.errors import SlideError, WrongResolution
from pathology.core.manifest import SlideRecord
from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.normalize_store import normalize_store
from pipelines.input_kinds import look_at
from pipelines.png_file import read_notes
from pipelines.stain import apply_recipe
from pipelines.stain_apply import Spread
from pipelines.stain_recipe import Recipe
from pipelines.stain_tiles import (
    PictureJob,
    StoreTilesJob,
    render_picture,
    stain_picture,
    stain_store_tiles,
)
from pipelines.tile_samples import Sampling, sample_picture
from tests.conftest import tissue_pixels
from tests.pipelines.stain_blur import DEADLY, MARGIN_PX, Blur, Invert, Model
from tests.stain.synthetic import he_tiles
from tests.stain.test_normalize_store import make_store

SWAP = Recipe(Model(Invert()), StainConfig())
STYLE = Recipe(TEXTBOOK, StainConfig())


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "sub/b.png", "c.bmp")):
        picture = Image.fromarray(tissue_pixels(151 + number, 101, seed=number))
        picture.save(folder / name)
    return folder


def test_every_picture_keeps_its_name_and_size(pictures: Path, tmp_path: Path) -> None:
    rows = apply_recipe(look_at(pictures), tmp_path / "out", SWAP)
    assert [(row.slide_id, row.status) for row in rows] == [
        ("a", "done"), ("c", "done"), ("sub__b", "done")
    ]  # fmt: skip
    for number, name in enumerate(("a.png", "sub/b.png", "c.png")):
        expected = tissue_pixels(151 + number, 101, seed=number)[..., ::-1]
        assert (pixels_of(tmp_path / "out" / name) == expected).all()
    assert read_notes(tmp_path / "out" / "a.png")["fingerprint"] == rows[0].fingerprint


def test_a_bad_picture_costs_itself_and_has_a_row(pictures: Path, tmp_path: Path) -> None:
    (pictures / "bad.png").write_bytes(b"no picture")
    Image.fromarray(tissue_pixels(50, 50)[..., 0]).save(pictures / "grey.png")
    rows = apply_recipe(look_at(pictures), tmp_path / "out", STYLE, spread=Spread(2))
    statuses = {row.slide_id: row.status for row in rows}
    assert statuses == {
        "a": "done", "bad": "failed", "c": "done", "grey": "failed", "sub__b": "done"
    }  # fmt: skip
    with (tmp_path / "out" / "stain.csv").open(newline="") as stream:
        said = {row["slide_id"]: row for row in csv.DictReader(stream)}
    assert "grey picture" in said["grey"]["reason"]
    assert not (tmp_path / "out" / "bad.png").exists()
    assert not list((tmp_path / "out").glob(".*"))


def test_a_picture_that_ends_its_process_costs_itself(pictures: Path, tmp_path: Path) -> None:
    deadly = tissue_pixels(40, 40)
    deadly[0, 0, 0] = DEADLY
    Image.fromarray(deadly).save(pictures / "b.png")
    program = Path(__file__).with_name("stain_dying_program.py")
    done = subprocess.run(
        [sys.executable, program, pictures, tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    rows = json.loads(done.stdout)
    assert {name: row[0] for name, row in rows.items()} == {
        "a": "done",
        "b": "failed",
        "c": "done",
        "sub__b": "done",
    }
    assert "exit code 3" in rows["b"][1]


def test_what_is_done_is_kept_and_what_is_damaged_is_made(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    apply_recipe(look_at(pictures), out, SWAP)
    whole = (out / "c.png").read_bytes()
    (out / "c.png").write_bytes(b"")
    before = (out / "a.png").stat().st_mtime_ns
    rows = {row.slide_id: row for row in apply_recipe(look_at(pictures), out, SWAP)}
    assert (out / "a.png").stat().st_mtime_ns == before
    assert (rows["a"].reason, rows["c"].reason) == ("already complete", "")
    assert (out / "c.png").read_bytes() == whole
    Image.fromarray(tissue_pixels(60, 60)).save(pictures / "a.png")
    apply_recipe(look_at(pictures), out, SWAP)
    assert pixels_of(out / "a.png").shape == (60, 60, 3)
    other = replace(SWAP, config=StainConfig(max_gain=2))
    rows = {row.slide_id: row for row in apply_recipe(look_at(pictures), out, other)}
    assert rows["a"].reason == ""


def test_large_pictures_show_no_window() -> None:
    pixels = tissue_pixels(1500, 1100)
    edge = 2 * MARGIN_PX + 1
    rendered, is_passed = render_picture(Blur(), pixels)
    assert not is_passed
    assert (rendered == cv2.blur(pixels, (edge, edge))).all()
    glass = np.full((2100, 2100, 3), 243, np.uint8)
    rendered, is_passed = render_picture(Invert(), glass)
    assert is_passed
    assert (rendered == glass).all()


def test_a_network_refuses_another_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(tissue_pixels(60, 60)).save(path)
    job = PictureJob(SlideRecord("a", path, mpp=0.25), tmp_path / "out.png")
    taught = Recipe(Model(Blur(), mpp=0.5), StainConfig())
    with pytest.raises(WrongResolution, match=r"0\.25 um/px, the model was trained at 0.5"):
        stain_picture(job, recipe=taught, report=print)
    silent = PictureJob(SlideRecord("a", path), tmp_path / "out.png")
    with pytest.raises(WrongResolution, match=r"0\.25 um/px.*\. Scale the picture to 0\.5 um/px\."):
        stain_picture(silent, recipe=replace(taught, assume_mpp=0.25), report=print)
    assert stain_picture(silent, recipe=taught, report=print).status == "done"
    color = Recipe(Model(Invert(), mpp=0.5), StainConfig())
    assert stain_picture(job, recipe=color, report=print).status == "done"


def test_a_store_becomes_a_folder_of_tiles(tmp_path: Path) -> None:
    tiles = he_tiles(5)
    make_store(tmp_path / "run" / "tiles" / "s.zarr", tiles)
    make_store(tmp_path / "run" / "tiles" / "none.zarr", tiles[:0])
    (tmp_path / "run" / "tiles" / "torn.zarr").mkdir()
    out = tmp_path / "out"
    heard: list[int] = []
    given = look_at(tmp_path / "run")
    rows = apply_recipe(given, out, SWAP, "tiles", on_progress=heard.append)
    assert {row.slide_id: row.status for row in rows} == {
        "none": "empty", "s": "done", "torn": "failed"
    }  # fmt: skip
    assert sum(heard) == 5
    names = [f"{2 * row}_{2 * row + 1}.png" for row in range(5)]  # as make_store places them
    assert sorted(path.name for path in (out / "s").iterdir()) == names
    assert (pixels_of(out / "s" / names[3]) == tiles[3][..., ::-1]).all()
    written = (out / "s" / names[0]).stat().st_mtime_ns
    (out / "s" / names[1]).unlink()
    again = {row.slide_id: row for row in apply_recipe(given, out, SWAP, "tiles")}
    assert (out / "s" / names[1]).is_file()
    assert (out / "s" / names[0]).stat().st_mtime_ns == written
    assert again["s"].fingerprint == {row.slide_id: row for row in rows}["s"].fingerprint


def test_what_an_earlier_run_did_is_counted_and_kept_in_the_table(tmp_path: Path) -> None:
    tiles = he_tiles(6)
    tiles[[1, 4]] = 243
    make_store(tmp_path / "run" / "tiles" / "s.zarr", tiles)
    out, given = tmp_path / "out", look_at(tmp_path / "run")
    (whole,) = apply_recipe(given, out, STYLE, "tiles")
    assert (whole.num_tiles, whole.num_passed_through) == (6, 2) and whole.hematoxylin
    for name in ("2_3.png", "4_5.png"):  # one of glass, one of tissue
        (out / "s" / name).unlink()
    (mended,) = apply_recipe(given, out, STYLE, "tiles")
    kept = ("num_tiles", "num_passed_through", "hematoxylin", "h_gain", "white_level")
    assert [getattr(mended, name) for name in kept] == [getattr(whole, name) for name in kept]
    assert mended.reason == whole.reason == "2 tiles without stain stay as they are"
    (again,) = apply_recipe(given, out, STYLE, "tiles")
    assert [getattr(again, name) for name in kept] == [getattr(whole, name) for name in kept]
    assert again.reason == f"already complete; {whole.reason}" and again.seconds == 0
    with (out / "stain.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["num_passed_through"], row["hematoxylin"]) == ("2", whole.hematoxylin)


def test_a_picture_of_an_earlier_run_keeps_its_row(tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 60, 3), 243, np.uint8)).save(tmp_path / "glass.png")
    Image.fromarray(he_tiles(1, 256)[0]).save(tmp_path / "tissue.png")
    rows = {}
    for name in ("glass", "tissue"):
        job = PictureJob(
            SlideRecord(name, tmp_path / f"{name}.png"), tmp_path / "o" / f"{name}.png"
        )
        first, rows[name] = (stain_picture(job, recipe=STYLE, report=print) for _ in range(2))
        assert replace(rows[name], reason=first.reason, seconds=first.seconds) == first
    assert rows["glass"].reason.startswith("already complete; stays as it is: too little stained")
    assert rows["glass"].num_passed_through == 1 and rows["tissue"].hematoxylin


def test_a_picture_says_what_it_was_rendered_by_and_is_not_rendered_twice(tmp_path: Path) -> None:
    Image.fromarray(he_tiles(1, 128)[0]).save(tmp_path / "a.png")
    make_store(tmp_path / "s.zarr", he_tiles(2))
    other = replace(STYLE, config=StainConfig(residual=0))
    learned = replace(SWAP, model=replace(SWAP.model, method="cyclegan"))  # type: ignore[type-var]
    record = SlideRecord("a", tmp_path / "a.png")
    assert sample_picture(record, Sampling(64, 4)).stain == "raw"
    for recipe in (STYLE, other, learned):
        job = PictureJob(record, tmp_path / "out" / "a.png")
        stain_picture(job, recipe=recipe, report=print)
        stain_store_tiles(
            StoreTilesJob(tmp_path / "s.zarr", tmp_path / "out" / "s"), recipe=recipe, report=print
        )
        for path in (job.target, tmp_path / "out" / "s" / "0_1.png"):
            notes = read_notes(path)
            assert notes["stain"] == recipe.stain
            assert notes["model_fingerprint"] == recipe.model.fingerprint
            assert notes["method"] == recipe.model.method
            assert notes.get("quality") == ("lut" if recipe is learned else None)
            assert sample_picture(SlideRecord("b", path), Sampling(64, 4)).stain == recipe.stain
            twice = PictureJob(SlideRecord("b", path), tmp_path / "twice.png")
            with pytest.raises(SlideError, match=f"normalized already, by model {recipe.stain}"):
                stain_picture(twice, recipe=STYLE, report=print)
    assert not (tmp_path / "twice.png").exists()
    assert len({STYLE.stain, other.stain, learned.stain}) == 3


def test_a_normalized_store_gives_no_tiles_and_neither_does_another_resolution(
    tmp_path: Path,
) -> None:
    raw, made = make_store(tmp_path / "s.zarr", he_tiles(2)), tmp_path / "made" / "s.zarr"
    normalize_store(raw, made, TEXTBOOK, StainConfig())
    with pytest.raises(SlideError, match="its store is normalized already"):
        stain_store_tiles(StoreTilesJob(made, tmp_path / "out"), recipe=STYLE, report=print)
    taught = Recipe(Model(Invert(), mpp=0.25), StainConfig())
    with pytest.raises(SlideError, match=r"0\.5 microns per pixel.*made for 0\.25"):
        stain_store_tiles(StoreTilesJob(raw, tmp_path / "out"), recipe=taught, report=print)
    assert not (tmp_path / "out").exists()


def test_a_window_with_a_corner_of_tissue_is_rendered_as_its_neighbor_is(tmp_path: Path) -> None:
    pixels = np.full((2304, 2304, 3), 243, np.uint8)
    pixels[:, :1028] = tissue_pixels(3000, 3400)[
        548:2852, 900:1928
    ]  # four columns of it in the windows from 1024 on
    Image.fromarray(pixels).save(tmp_path / "a.png")
    job = PictureJob(SlideRecord("a", tmp_path / "a.png"), tmp_path / "out.png")
    stain_picture(job, recipe=STYLE, report=lambda num: None)
    moved = np.abs(pixels_of(job.target).astype(int) - pixels).max(axis=2)
    beside, corner = (moved[:, part].mean() for part in (slice(1020, 1024), slice(1024, 1028)))
    assert corner == pytest.approx(beside, rel=0.2) and corner > 5
