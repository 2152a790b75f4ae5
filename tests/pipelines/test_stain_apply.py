"""`stain apply` as people run it: every kind of input and output, exit codes, what is refused."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from typer.testing import CliRunner

from pathology.core.artifact import alone_in
from pathology.core.errors import ArtifactError, ConfigError, PathologyError
from pathology.slides.ome_writer import stored_fingerprint
from pathology.tiling.store import open_tiles
from pipelines.cli import app
from pipelines.input_kinds import look_at
from pipelines.stain_apply import jobs_of
from tests.conftest import tissue_pixels, write_pyramid
from tests.stain.synthetic import he_tiles
from tests.stain.test_learned import make_model
from tests.stain.test_normalize_store import make_store


def apply(*words: object) -> tuple[int, str]:
    """Exit code and output of `stain apply`; a refusal rises as itself."""
    result = CliRunner().invoke(app, ["stain", "apply", *map(str, words)])
    if isinstance(result.exception, PathologyError):
        raise result.exception
    return result.exit_code, result.output


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "stain.csv").open(newline="") as stream:
        return {row["slide_id"]: row for row in csv.DictReader(stream)}


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A folder of two slides and one whose file was cut short."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for number in range(2):
        write_pyramid(folder / f"s{number}.tif", tissue_pixels(900, 700, seed=number))
    whole = (folder / "s0.tif").read_bytes()
    (folder / "torn.tif").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.parametrize("workers", [0, 2, 5])
def test_a_broken_slide_costs_itself(slides: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    code, said = apply(slides, "--out", out, "--workers", workers)
    assert code == 1
    rows = rows_of(out)
    assert {name: row["status"] for name, row in rows.items()} == {
        "s0": "done", "s1": "done", "torn": "failed"
    }  # fmt: skip
    assert "incomplete" in rows["torn"]["reason"]
    assert "2 slides normalized to textbook H&E" in said
    assert ", 1 failed; 24 tiles, 24 passed through unchanged; " in said
    assert f"Open: {out}" in said
    assert stored_fingerprint(out / "s0.ome.tiff") == rows["s0"]["fingerprint"]
    assert rows["s0"]["num_tiles"] == "12"
    with openslide.OpenSlide(out / "s1.ome.tiff") as slide:
        assert slide.dimensions == (900, 700)
    record = json.loads((out / "run.json").read_text())
    assert record["outcomes"] == {"done": 2, "empty": 0, "failed": 1}
    names = {path.name for path in out.iterdir()}
    assert names == {"s0.ome.tiff", "s1.ome.tiff", "stain.csv", "run.json"}
    _, said = apply(slides, "--out", out, "--workers", workers)
    assert re.search(r"2 slides normalized to .* \(2 of them before\), 1 failed; 24 tiles, ", said)
    assert "s0: done, 12 tiles (already complete; " in said and "tiles/s" not in said
    assert rows_of(out)["s0"]["num_passed_through"] == rows["s0"]["num_passed_through"]


def test_a_manifest_with_a_bad_row_loses_nothing(slides: Path, tmp_path: Path) -> None:
    table = tmp_path / "slides.csv"
    table.write_text(
        "slide_id,slide_path,mpp\ns0,slides/s0.tif,\nbad,slides/s1.tif,quarter\n"
        "lost,slides/lost.tif,\n"
    )
    code, _ = apply(table, "--out", tmp_path / "out", "--workers", 0)
    rows = rows_of(tmp_path / "out")
    assert code == 1
    assert [rows[name]["status"] for name in ("bad", "s0", "lost")] == ["failed", "done", "failed"]
    assert "mpp in the manifest is 'quarter'" in rows["bad"]["reason"]
    assert "no such file" in rows["lost"]["reason"]


def test_two_commands_do_not_work_on_the_same_slides(slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with alone_in(out), pytest.raises(ArtifactError, match="another command works there now"):
        apply(slides, "--out", out)
    assert not list(out.iterdir())
    bands = tmp_path / ".one.ome.tiff.bands"
    bands.mkdir()
    with alone_in(bands):
        code, said = apply(slides / "s0.tif", "--out", tmp_path / "one.ome.tiff")
    assert code == 1 and "another command works there now" in said
    assert not (tmp_path / "one.ome.tiff").exists()
    assert apply(slides / "s0.tif", "--out", tmp_path / "one.ome.tiff")[0] == 0


def test_one_slide_into_one_file(slides: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.ome.tiff"
    settings = ("--set", "pyramid.tile_px=512", "--set", "max_gain=3", "--mpp", "0.5")
    code, said = apply(slides / "s0.tif", "--out", target, "--workers", 2, *settings)
    assert code == 0
    assert f"Open: {target}" in said
    with openslide.OpenSlide(target) as slide:
        assert slide.dimensions == (450, 350)
        assert slide.properties["openslide.level[0].tile-width"] == "512"
    assert not (tmp_path / "stain.csv").exists()
    assert not (tmp_path / "run.json").exists()


def test_a_killed_run_goes_on_to_the_same_file(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "s.tif", tissue_pixels(2100, 6200))
    target = tmp_path / "out" / "s.ome.tiff"
    words = ["stain", "apply", tmp_path / "s.tif", "--out", target, "--workers", "0"]
    command = [sys.executable, "-m", "pipelines", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        first = target.with_name(f".{target.name}.bands") / "00000.band"
        while not first.exists() and process.poll() is None:
            time.sleep(0.005)
        process.kill()
    assert not target.exists()
    assert first.is_file()
    assert apply(*words[2:])[0] == 0
    assert apply(*words[2:4], tmp_path / "whole.ome.tiff", "--workers", 0)[0] == 0
    assert target.read_bytes() == (tmp_path / "whole.ome.tiff").read_bytes()
    assert list(target.parent.iterdir()) == [target]


def test_one_picture_into_one_file(tmp_path: Path) -> None:
    Image.fromarray(tissue_pixels(100, 80)).save(tmp_path / "a.png")
    code, said = apply(tmp_path / "a.png", "--out", tmp_path / "b.png", "--workers", 0)
    assert code == 0
    assert "1 pictures normalized to" in said and "; 0 passed through unchanged" in said
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (100, 80)


def test_a_run_becomes_stores_or_tiles(tmp_path: Path) -> None:
    make_store(tmp_path / "run" / "tiles" / "s.zarr", he_tiles(4))
    code, _ = apply(tmp_path / "run", "--out", tmp_path / "stores", "--workers", 0)
    assert code == 0
    assert len(open_tiles(tmp_path / "stores" / "tiles" / "s.zarr")) == 4
    words = ("--format", "tiles", "--workers", 0)
    code, _ = apply(tmp_path / "run", "--out", tmp_path / "tiles", *words)
    assert code == 0
    assert len(list((tmp_path / "tiles" / "s").glob("*.png"))) == 4
    stored = open_tiles(tmp_path / "stores" / "tiles" / "s.zarr").read([2])[0]
    with Image.open(tmp_path / "tiles" / "s" / "4_5.png") as image:
        assert (np.asarray(image) == stored).all()


def test_pictures_may_become_ome_tiff(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(tissue_pixels(400, 300)).save(folder / "a.png")
    words = ("--format", "ome-tiff", "--workers", 0)
    code, _ = apply(folder, "--out", tmp_path / "out", *words)
    assert code == 1
    assert "--assume-mpp" in rows_of(tmp_path / "out")["a"]["reason"]
    code, said = apply(folder, "--out", tmp_path / "out", *words, "--assume-mpp", 0.5)
    assert code == 0
    assert stored_fingerprint(tmp_path / "out" / "a.ome.tiff")
    assert "a: done, 4 tiles" in said
    assert re.search(r"^1 pictures normalized to .*; 4 tiles, 4 passed .* tiles/s\)$", said, re.M)


def test_settings_that_would_change_nothing_are_refused(slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    store = make_store(tmp_path / "s.zarr", he_tiles(4))
    Image.fromarray(tissue_pixels(100, 80)).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"--quality teacher: .*learned models only.* is macenko"):
        apply(slides, "--out", out, "--quality", "teacher")
    for given in (store, tmp_path / "a.png"):
        for words in (("--mpp", 0.5), ("--set", "pyramid.jpeg_quality=95")):
            with pytest.raises(ConfigError, match="pyramid settings are for whole slides"):
                apply(given, "--out", out, *words)
    make_model().save(tmp_path / "style.pt")
    with pytest.raises(ConfigError, match=r"residual=0.5: changes classical methods only.*learned"):
        apply(store, "--model", tmp_path / "style.pt", "--out", out, "--set", "residual=0.5")
    assert not out.exists()
    assert apply(store, "--out", out, "--quality", "lut", "--workers", 0)[0] == 0  # the default


def test_a_device_that_is_not_there_is_refused_at_once(slides: Path, tmp_path: Path) -> None:
    make_model().save(tmp_path / "style.pt")
    words = ("--model", tmp_path / "style.pt", "--out", tmp_path / "out", "--device", "mps")
    with pytest.raises(ConfigError, match="--device mps: this machine has none"):
        apply(slides, *words)
    assert not (tmp_path / "out").exists()


def test_a_slide_at_another_resolution_than_scanned_is_said(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "s.tif", tissue_pixels(2000, 1600))
    make_model(0.5).save(tmp_path / "style.pt")
    words = ("--model", tmp_path / "style.pt", "--out", tmp_path / "out", "--workers", 0)
    code, said = apply(tmp_path / "s.tif", *words)
    assert code == 0
    assert "s: done, 16 tiles (written at the model's 0.5 um/px, scanned at 0.25" in said
    assert "\n1 slides written at the model's 0.5 um/px, and not as scanned\n" in said
    code, said = apply(tmp_path / "s.tif", *words, "--mpp", 0.25)
    assert code == 1
    assert "Leave --mpp out: the slide is then written at 0.5 um/px" in said


def test_formats_that_make_no_sense_are_refused(slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    store = make_store(tmp_path / "run" / "tiles" / "s.zarr", he_tiles(4))
    with pytest.raises(ArtifactError, match=r"Tile first: `pathology tile .*slides --out RUN`"):
        apply(slides, "--out", out, "--format", "store")
    with pytest.raises(ArtifactError, match="needs pictures or tiles, not whole slides"):
        apply(slides / "s0.tif", "--out", out, "--format", "tiles")
    with pytest.raises(ArtifactError, match="no whole slide can be made"):
        apply(store, "--out", out, "--format", "ome-tiff")
    with pytest.raises(ConfigError, match=r"quality.*teacher.*got 'best'"):
        apply(slides, "--out", out, "--quality", "best")
    with pytest.raises(ConfigError, match="jpeg_qualty: unknown key"):
        apply(slides, "--out", out, "--set", "pyramid.jpeg_qualty=90")
    with pytest.raises(PathologyError, match="not a stain"):
        (tmp_path / "model.json").write_text("{}{")
        apply(slides, "--out", out, "--model", tmp_path / "model.json")
    assert not out.exists()


def test_pictures_that_failed_are_not_counted_as_normalized(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(tissue_pixels(100, 80)).save(folder / "a.png")
    Image.new("L", (80, 80)).save(folder / "b.png")
    code, said = apply(folder, "--out", tmp_path / "out", "--workers", 0)
    assert code == 1
    assert re.search(r"^1 pictures normalized to .*, 1 failed; 0 passed through", said, re.M)


def test_a_folder_is_not_named_as_a_file(slides: Path, tmp_path: Path) -> None:
    Image.fromarray(tissue_pixels(100, 80)).save(tmp_path / "a.png")
    make_store(tmp_path / "run" / "tiles" / "s.zarr", he_tiles(4))
    for given, name, hint in (
        ("a.png", "b.jpg", r"a name that ends in \.png"),
        ("slides", "b.tif", r"a name that ends in \.ome\.tiff"),
        ("slides/s0.tif", "b.svs", r"a name that ends in \.ome\.tiff"),
        ("run", "b.png", "Give a folder$"),
    ):
        with pytest.raises(ArtifactError, match=rf"{name}: would be a folder.*{hint}"):
            apply(tmp_path / given, "--out", tmp_path / name)
        assert not (tmp_path / name).exists()
    (tmp_path / "b.jpg").mkdir()  # a folder that is there is meant
    assert apply(tmp_path / "a.png", "--out", tmp_path / "b.jpg", "--workers", 0)[0] == 0
    assert (tmp_path / "b.jpg" / "a.png").is_file()


def test_no_input_is_its_own_output(slides: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="give --out another folder"):
        jobs_of(look_at(slides), slides / "out")
    with pytest.raises(ArtifactError, match="give --out another folder"):
        jobs_of(look_at(slides / "s0.tif"), slides / "s0.tif")
    run = make_store(tmp_path / "run" / "tiles" / "s.zarr", he_tiles(4)).parents[1]
    with pytest.raises(ArtifactError, match="is the run itself"):
        jobs_of(look_at(run), run)
    assert len(jobs_of(look_at(run), run / "stain")) == 1


def test_runs_and_stores_are_not_written_into(tmp_path: Path) -> None:
    store = make_store(tmp_path / "run" / "tiles" / "s.zarr", he_tiles(4))
    run, other = store.parents[1], tmp_path / "other"
    other.mkdir()
    for folder in (run, other):
        (folder / "process_list.csv").write_text("slide_id,status\ns,done\n")
        with pytest.raises(ArtifactError, match="a tiling run, whose files would be replaced"):
            jobs_of(look_at(run), folder, "tiles")
    for place in (store, store / "inside"):
        with pytest.raises(ArtifactError, match="inside of the tile store"):
            jobs_of(look_at(store), place)
    with pytest.raises(ArtifactError, match=r"a file\. Give the name of a folder"):
        jobs_of(look_at(run), run / "process_list.csv")


def test_a_folder_is_not_replaced_by_a_file(slides: Path, tmp_path: Path) -> None:
    (tmp_path / "a.ome.tiff").mkdir()
    with pytest.raises(ArtifactError, match=r"a folder\. Give the name of a file"):
        apply(slides / "s0.tif", "--out", tmp_path / "a.ome.tiff")
    assert not list(tmp_path.glob(".*"))


def test_one_slide_by_a_network_in_processes(slides: Path, tmp_path: Path) -> None:
    """What is known of the slide, weights among it, comes back from a process that has ended."""
    make_model(mpp=0.25).save(tmp_path / "m.pt")
    words = (slides / "s0.tif", "--model", tmp_path / "m.pt", "--quality", "teacher")
    found = []
    for workers in (0, 2):
        out = tmp_path / f"{workers}.ome.tiff"
        code, said = apply(*words, "--out", out, "--workers", workers)
        assert code == 0, said
        with openslide.OpenSlide(out) as slide:
            found.append(np.asarray(slide.read_region((0, 0), 0, slide.dimensions)))
    assert np.array_equal(*found)


def test_pictures_of_like_names_stay_apart(tmp_path: Path) -> None:
    """x/y and x__y, and a.png, a.jpg and a.jpg.png: each has a row and a file of its own."""
    folder = tmp_path / "in"
    (folder / "x").mkdir(parents=True)
    names = ["x/y.png", "x__y.png", "a.png", "a.jpg", "a.jpg.png"]
    for seed, name in enumerate(names):
        Image.fromarray(tissue_pixels(100, 80, seed=seed)).save(folder / name)
    code, said = apply(folder, "--out", tmp_path / "out", "--workers", 0)
    assert code == 0 and f"{len(names)} pictures normalized" in said, said
    assert len(rows_of(tmp_path / "out")) == len(names)
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(names)


def test_a_picture_keeps_its_resolution(tmp_path: Path) -> None:
    pixels = Image.fromarray(tissue_pixels(100, 80))
    pixels.save(tmp_path / "a.png", dpi=(25_400 / 0.5,) * 2)
    pixels.save(tmp_path / "b.png")
    for name, dpi in (("a", 50_800), ("b", None)):
        apply(tmp_path / f"{name}.png", "--out", tmp_path / f"{name}_out.png", "--workers", 0)
        with Image.open(tmp_path / f"{name}_out.png") as made:
            found = made.info.get("dpi")
        assert (found is None) if dpi is None else (abs(found[0] / dpi - 1) < 1e-3)
