"""The command line as scripts rely on it: forms, files, exit codes, one-line refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from typer.main import get_command

from pathology.core.manifest import SlideRecord
from pathology.tiling.config import TilingConfig, TilingJob
from pathology.tiling.store import open_tiles
from pipelines.cli import app
from pipelines.tile_work import plan_one, tasks_of
from tests import in_process
from tests.conftest import tissue_pixels, write_pyramid

NEEDED = {"slide_id", "status", "reason", "mpp", "mpp_source", "num_tiles", "seconds"}


def pathology(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )


def rows_of(run: Path) -> dict[str, dict[str, str]]:
    with (run / "process_list.csv").open(newline="", encoding="utf-8") as stream:
        return {row["slide_id"]: row for row in csv.DictReader(stream)}


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A folder of two slides and a photograph that states no resolution."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for number in range(2):
        write_pyramid(folder / f"s{number}.tif", tissue_pixels(1200, 1000, seed=number), mpp=0.5)
    write_pyramid(folder / "unknown.tif", tissue_pixels(600, 600), mpp=None)
    return folder


def flags(*names: str) -> set[str]:
    command = get_command(app)
    for name in names:
        command = command.commands[name]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in parameter.opts}


def test_the_form_of_tile_is_kept() -> None:
    assert flags("tile") == {
        "manifest", "--out", "--config", "--set", "--coords", "--coords-only", "--workers",
        "--scheduler", "--assume-mpp", "--dry-run", "--data-root", "--slide", "--limit", "--part",
        "--timeout", "--verify", "--tcga",
    }  # fmt: skip


def test_the_commands_are_these() -> None:
    assert set(get_command(app).commands) == {  # type: ignore[attr-defined]
        "tile", "stain", "report", "run", "demo", "doctor", "init", "export", "data", "version",
        "features", "splits", "train", "predict", "evaluate", "live", "serve",
    }  # fmt: skip


def test_the_forms_around_classifiers_are_kept() -> None:
    train = get_command(app).commands["train"]  # type: ignore[attr-defined]
    options = {o for parameter in train.commands["weak"].params for o in parameter.opts}
    assert options >= {"run", "--labels", "--out", "--method", "--config", "--set", "--splits"}
    assert flags("features") >= {"run", "--encoder", "--out", "--weights"}
    assert flags("predict") >= {"model", "source", "--out", "--maps"}
    assert flags("evaluate") == {
        "predictions",
        "--labels",
        "--out",
        "--split",
        "--class-map",
        "--data-root",
    }


def test_the_forms_around_stains_are_kept() -> None:
    stain = get_command(app).commands["stain"]  # type: ignore[attr-defined]
    assert set(stain.commands) == {"fit", "apply", "train", "styles", "evaluate"}
    assert flags("stain", "fit") == {
        "--target", "--out", "--method", "--config", "--set", "--assume-mpp",
    }  # fmt: skip
    assert flags("stain", "apply") == {
        "source", "--out", "--model", "--quality", "--format", "--config", "--set", "--mpp",
        "--assume-mpp", "--data-root", "--device", "--workers", "--scheduler", "--timeout",
    }  # fmt: skip
    assert flags("stain", "train") == {
        "sources", "--target", "--out", "--config", "--set", "--device", "--devices", "--precision",
        "--assume-mpp", "--panel-every", "--tensorboard", "--compile",
    }  # fmt: skip
    assert flags("stain", "styles") == {
        "source", "--out", "--tiles-per-slide", "--config", "--set", "--assume-mpp",
    }  # fmt: skip
    assert flags("stain", "evaluate") == {
        "source", "--target", "--out", "--model", "--pairs", "--config", "--set", "--device",
        "--assume-mpp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "values", "wrong"),
    [
        ("--format", ["store", "ome-tiff", "tiles"], "zarr"),
        ("--quality", ["teacher", "student", "lut"], "best"),
    ],
)
def test_the_words_of_stain_apply_are_kept(option: str, values: list[str], wrong: str) -> None:
    """A word that is known is not what is wrong with an input that is not there."""
    words = ("stain", "apply", "nowhere.tif", "--out", "nowhere", option)
    for value in values:
        done = in_process.pathology(*words, value)
        assert done.returncode == 2
        assert "nowhere.tif: no such file" in done.stderr
    done = in_process.pathology(*words, wrong)
    assert done.returncode == 2
    assert all(value in done.stderr for value in (wrong, *values))


def test_the_form_of_serve_is_kept() -> None:
    assert flags("serve") == {
        "run", "--predictions", "--stain", "--slides", "--host", "--port", "--token", "--cache",
    }  # fmt: skip


def test_a_run_accounts_for_every_slide(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = pathology("tile", slides, "--out", run, "--set", "tile.size_px=128", "--workers", "2")
    assert done.returncode == 1
    rows = rows_of(run)
    assert list(rows) == ["s0", "s1", "unknown"]
    assert set(next(iter(rows.values()))) >= NEEDED
    assert [rows[name]["status"] for name in rows] == ["done", "done", "failed"]
    assert "--assume-mpp" in rows["unknown"]["reason"]
    assert float(rows["s0"]["mpp"]) == 0.5
    assert rows["s0"]["mpp_source"] == "tiff"
    store = open_tiles(run / "tiles/s0.zarr")
    assert len(store) == int(rows["s0"]["num_tiles"]) > 10
    assert store.read([0]).shape == (1, 128, 128, 3)
    assert sorted(path.name for path in (run / "tiles").iterdir()) == ["s0.zarr", "s1.zarr"]
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["outcomes"] == {"done": 2, "empty": 0, "failed": 1}
    assert record["config"]["tile"]["size_px"] == 128
    assert "unknown" in (run / "summary.md").read_text(encoding="utf-8")
    assert (run / "overlays/s0.jpg").is_file()
    assert (run / "masks/s0.geojson").is_file()


def test_a_second_run_does_nothing_twice_and_mends_what_failed(
    slides: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert pathology("tile", slides, "--out", run).returncode == 1
    before = {path: path.stat().st_mtime_ns for path in (run / "tiles").iterdir()}
    done = pathology("tile", slides, "--out", run, "--assume-mpp", "0.5")
    assert done.returncode == 0
    rows = rows_of(run)
    assert rows["unknown"]["mpp_source"] == "assumed"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert rows["s0"]["reason"] == "already complete"


def test_other_settings_make_other_tiles(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pathology("tile", slides, "--out", run, "--slide", "s0")
    first = rows_of(run)["s0"]
    pathology("tile", slides, "--out", run, "--slide", "s0", "--set", "tile.mpp=1.0")
    second = rows_of(run)["s0"]
    assert first["fingerprint"] != second["fingerprint"]
    assert float(second["achieved_mpp"]) == 1.0
    assert rows_of(run)["s1"]["status"] == "pending"


def test_parts_fill_one_run_and_the_whole_collects_them(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for number in range(3):
        pathology("tile", slides, "--out", run, "--part", f"{number}/3", "--assume-mpp", "0.5")
    done = pathology("tile", slides, "--out", run, "--assume-mpp", "0.5", "--workers", "0")
    assert done.returncode == 0
    assert {row["reason"] for row in rows_of(run).values()} == {"already complete"}


def test_a_dry_run_prints_plans_and_writes_nothing(slides: Path, tmp_path: Path) -> None:
    done = pathology(
        "tile", slides, "--out", tmp_path / "run", "--dry-run", "--set", "tile.mpp=0.7"
    )
    assert done.returncode == 1
    plan = "0.5 um/px: read level 0, 358 px, scale to 256 px = 0.6992 um/px"
    assert f"s0: {plan};" in done.stdout
    assert "about" in done.stdout
    assert not (tmp_path / "run").exists()


def test_coordinates_only(slides: Path, tmp_path: Path) -> None:
    whole, coords = tmp_path / "whole", tmp_path / "coords"
    pathology("tile", slides, "--out", whole, "--slide", "s0")
    pathology("tile", slides, "--out", coords, "--slide", "s0", "--coords-only")
    a, b = open_tiles(whole / "tiles/s0.zarr"), open_tiles(coords / "tiles/s0.zarr")
    assert np.array_equal(a.l0_xy, b.l0_xy)
    assert not b.has_pixels
    assert "pixels" not in zarr.open_group(coords / "tiles/s0.zarr", mode="r")


def test_tiles_chosen_by_another_tool(slides: Path, tmp_path: Path) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    pathology("tile", slides, "--out", run, "--coords-only", "--set", "tile.size_px=128")
    assert pathology("export", run, "--out", tmp_path / "h5", "--format", "trident").returncode == 0
    words = ("--coords", tmp_path / "h5", "--slide", "s0", "--set", "quality.min_sharpness=0")
    done = pathology("tile", slides, "--out", again, *words)
    assert done.returncode == 0
    a, b = open_tiles(run / "tiles/s0.zarr"), open_tiles(again / "tiles/s0.zarr")
    assert np.array_equal(a.l0_xy, b.l0_xy)
    assert b.size_px == 128
    assert b.has_pixels


def test_a_slide_without_coordinates_costs_itself(slides: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    done = pathology("tile", slides, "--out", tmp_path / "run", "--coords", tmp_path / "none")
    assert done.returncode == 1
    assert "holds no coordinates of this slide" in rows_of(tmp_path / "run")["s0"]["reason"]


def test_a_parquet_manifest_and_a_checksum(slides: Path, tmp_path: Path) -> None:
    table = {"slide_id": ["a", "b"], "slide_path": ["s0.tif", "s1.tif"], "sha256": ["0" * 64, ""]}
    pd.DataFrame(table).to_parquet(tmp_path / "m.parquet")
    words = ("tile", tmp_path / "m.parquet", "--data-root", slides, "--coords-only")
    assert pathology(*words, "--out", tmp_path / "lax").returncode == 0
    assert pathology(*words, "--out", tmp_path / "strict", "--verify").returncode == 1
    assert "SHA-256" in rows_of(tmp_path / "strict")["a"]["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tile", "none.csv", "--out", "run"], "ManifestError: none.csv: no such file"),
        (["tile", ".", "--out", "run", "--set", "tile.mp=1"], "tile.mp: unknown key"),
        (["tile", ".", "--out", "run", "--part", "4/4"], "expected K/N"),
        (["tile", ".", "--out", "run", "--slide", "x"], "no slide x"),
        (["report", "."], "no run here"),
        (["run", "none.yaml"], "no such file"),
        (["export", ".", "--out", "x", "--format", "gif"], "gif"),
        (["init", "--stage", "sleep"], "no stage sleep"),
        (["data", "fetch", "nothing", "--out", "x"], "unknown"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_2(
    slides: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(slides)
    done = in_process.pathology(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_underscores_are_accepted(slides: Path, tmp_path: Path) -> None:
    done = pathology("tile", slides, "--out", tmp_path / "r", "--dry_run", "--assume_mpp", "0.5")
    assert done.returncode == 0


def test_init_writes_files_that_tile_reads(slides: Path, tmp_path: Path) -> None:
    assert pathology("init", tmp_path / "c").returncode == 0
    assert {path.stem for path in (tmp_path / "c").iterdir()} == {
        "adapt",
        "run",
        "stain",
        "stain_evaluate",
        "stain_full",
        "stain_train",
        "tile",
        "weak",
    }
    (tmp_path / "c" / "weak.yaml").unlink()  # as where the disk was full at first
    assert pathology("init", tmp_path / "c").returncode == 0
    text = (tmp_path / "c" / "weak.yaml").read_text()
    (tmp_path / "c" / "weak.yaml").write_text(f"{text}# mine\n")
    assert pathology("init", tmp_path / "c").returncode == 2
    assert (tmp_path / "c" / "weak.yaml").read_text().endswith("# mine\n")
    words = ("--config", tmp_path / "c/tile.yaml", "--limit", "1", "--dry-run")
    assert pathology("tile", slides, "--out", tmp_path / "r", *words).returncode == 0


def test_one_file_runs_everything(slides: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    settings = "manifest: slides\nout: out\nassume_mpp: 0.5\nstain: {method: macenko}\n"
    config.write_text(settings, encoding="utf-8")
    done = pathology("run", config)
    assert done.returncode == 0, done.stderr
    assert "Research use only" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert len(open_tiles(tmp_path / "out/stain/tiles/s0.zarr")) > 0
    assert "already complete" in in_process.pathology("run", config).stderr


def test_doctor_finds_what_is_needed() -> None:
    done = pathology("doctor")
    assert done.returncode == 0
    for topic in ("OpenSlide library", "zarr", "memory", "GPU", "working folder", "extra dev"):
        assert topic in done.stdout


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['pathology', '--help']\n"
        "from pipelines.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'zarr', 'dask', 'pydantic', 'tifffile'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_microscope_images_need_no_tissue_search(
    tmp_path: Path, make_slide: Callable[..., Path]
) -> None:
    path = make_slide("photo.png.tif", width=700, height=520, mpp=None)
    table = f"slide_id,slide_path,mpp,domain\nphoto,{path},0.5,microscope\n"
    (tmp_path / "m.csv").write_text(table, encoding="utf-8")
    words = ("--set", "quality.max_white_fraction=1", "--set", "quality.min_sharpness=0")
    done = pathology("tile", tmp_path / "m.csv", "--out", tmp_path / "r", *words)
    assert done.returncode == 0
    assert int(rows_of(tmp_path / "r")["photo"]["num_tiles"]) == 4


def test_each_task_has_its_own_slides_coordinates_or_its_own_fault(tmp_path: Path) -> None:
    for place in ("deep/down/a.h5", "10x/patches/b.h5", "20x/patches/b.h5"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    records = [SlideRecord(name, tmp_path / f"{name}.tif") for name in "abc"]
    found, several, none = tasks_of(records, tmp_path)
    assert (found.coords, found.fault) == (tmp_path / "deep/down/a.h5", None)
    assert "2 files of coordinates for b" in str(several.fault)
    assert "holds no coordinates of this slide" in str(none.fault)
    assert {task.coords for task in tasks_of(records, None)} == {None}
    for task in (several, none):
        with pytest.raises(type(task.fault), match="coordinates"):
            plan_one(task, config=TilingConfig(), job=TilingJob(tmp_path), report=print)


def test_coordinates_of_another_slide_are_refused(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pathology("tile", slides, "--out", run, "--coords-only", "--slide", "s0")
    pathology("export", run, "--out", tmp_path / "h5", "--format", "trident")
    write_pyramid(slides / "s0.tif", tissue_pixels(1300, 1100), mpp=0.5)
    words = ("--coords", tmp_path / "h5", "--slide", "s0", "--dry-run")
    done = pathology("tile", slides, "--out", tmp_path / "again", *words)
    assert done.returncode == 1
    assert "chosen on a slide of 1200x1000 level-0 px, this one has 1300x1100" in done.stdout


@pytest.mark.real_data
def test_the_real_slides_are_all_accounted_for(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "slides"
    names = sorted(path.name for path in folder.iterdir())
    mpp = {name: "0.5" if name.endswith(".jpeg") else "" for name in names}
    lines = [f"{name.replace('.', '_')},{folder / name},{mpp[name]}" for name in names]
    tcga = "TCGA-CR-7395-01A-01-TS1.svs"
    lines.append(f"tcga_with_mpp,{folder / tcga},0.5")
    (tmp_path / "m.csv").write_text(
        "\n".join(["slide_id,slide_path,mpp", *lines]), encoding="utf-8"
    )
    done = pathology("tile", tmp_path / "m.csv", "--out", tmp_path / "r")
    rows = rows_of(tmp_path / "r")
    assert done.returncode == 1
    assert len(rows) == len(lines)
    refused = rows.pop(tcga.replace(".", "_"))
    assert "no usable microns per pixel" in refused["reason"]
    assert "--assume-mpp" in refused["reason"]
    microarray = rows.pop("tma_spots_jpeg")  # at this resolution its spots are specks of dust
    assert microarray["status"] == "empty"
    assert "enough tissue" in microarray["reason"]
    assert {row["status"] for row in rows.values()} == {"done"}
    assert int(rows["tcga_with_mpp"]["num_tiles"]) > 100
    assert rows["CMU-1-Small-Region_svs"]["mpp_source"] == "slide"


def test_an_outline_edited_by_hand_is_kept(slides: Path, tmp_path: Path) -> None:
    """RUN/masks/<slide>.geojson, drawn anew in QuPath and named as the slide's own mask."""
    assert pathology("tile", slides, "--slide", "s0", "--out", tmp_path / "run").returncode == 0
    mask = tmp_path / "run" / "masks" / "s0.geojson"
    before = rows_of(tmp_path / "run")["s0"]["num_tiles"]
    drawn = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [700, 0], [700, 900], [0, 900]]]},
        "properties": {"classification": {"name": "Tissue"}, "name": "by hand"},
    }
    mask.write_text(json.dumps(drawn))
    table = tmp_path / "t.csv"
    table.write_text(f"slide_id,slide_path,mask_path\ns0,{slides / 's0.tif'},{mask}\n")
    for _ in range(2):
        done = pathology("tile", table, "--out", tmp_path / "run")
        assert done.returncode == 0, done.stderr
        assert json.loads(mask.read_text()) == drawn
    assert "already complete" in rows_of(tmp_path / "run")["s0"]["reason"]
    assert rows_of(tmp_path / "run")["s0"]["num_tiles"] != before


def test_a_runs_own_pictures_are_no_slides(slides: Path) -> None:
    for _ in range(2):
        assert pathology("tile", slides, "--out", slides, "--dry-run").returncode in (0, 1)
        pathology("tile", slides, "--out", slides)
        pathology("tile", slides, "--out", slides / "run")
    assert set(rows_of(slides)) == set(rows_of(slides / "run"))
    assert not any("overlays" in name for name in rows_of(slides))


def test_files_of_other_work_are_not_replaced_by_tiling(slides: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text("mine")
    done = pathology("tile", slides, "--out", tmp_path)
    assert done.returncode == 2 and "summary.md lies there and would be replaced" in done.stderr
    assert (tmp_path / "summary.md").read_text() == "mine"


def test_rows_that_were_not_asked_for_decide_nothing(slides: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"slide_id,slide_path\ns0,{slides / 's0.tif'}\nlost,nowhere.svs\n")
    assert pathology("tile", table, "--out", tmp_path / "r", "--slide", "s0").returncode == 0
    assert pathology("tile", table, "--out", tmp_path / "r").returncode == 1
    assert pathology("tile", table, "--out", tmp_path / "r", "--slide", "s0").returncode == 0
    assert pathology("tile", table, "--out", tmp_path / "r", "--slide", "lost").returncode == 1


def test_one_file_of_coordinates_is_not_for_several_slides(slides: Path, tmp_path: Path) -> None:
    run, h5 = tmp_path / "run", tmp_path / "h5"
    pathology("tile", slides, "--slide", "s0", "--out", run, "--set", "tile.mpp=1.3")
    pathology("export", run, "--out", h5, "--format", "trident")
    (file,) = h5.rglob("s0*.h5")
    pathology("tile", slides, "--out", tmp_path / "again", "--coords", file)
    rows = rows_of(tmp_path / "again")
    assert rows["s0"]["status"] == "done" and rows["s1"]["status"] == "failed"
    assert "holds no coordinates of this slide" in rows["s1"]["reason"]
    said = open_tiles(tmp_path / "again" / "tiles" / "s0.zarr").attributes["config"]["tile"]
    assert abs(said["mpp"] - 1.3) < 0.01  # as the tiles are, and not as the settings say
    done = pathology("tile", slides, "--out", tmp_path / "n", "--coords", tmp_path / "nothing")
    assert done.returncode == 2 and "no such file or folder" in done.stderr


def test_coordinates_in_microns_use_the_slides_own_resolution(slides: Path, tmp_path: Path) -> None:
    """As STAMP writes them; the table says nothing of the slide's resolution."""
    with h5py.File(tmp_path / "s0.h5", "w") as file:
        file["coords"] = np.array([[0.0, 0.0], [128.0, 0.0]], np.float32)
        file["feats"] = np.zeros((2, 8), np.float16)
        said = {"unit": "um", "tile_size_um": 128.0, "tile_size_px": 224, "feat_type": "tile"}
        file.attrs.update(said)
    words = ("--slide", "s0", "--out", tmp_path / "run", "--coords", tmp_path / "s0.h5")
    done = pathology("tile", slides, *words)
    assert done.returncode == 0, done.stdout
    found = open_tiles(tmp_path / "run" / "tiles" / "s0.zarr").l0_xy
    assert set(map(tuple, found.tolist())) <= {(0, 0), (256, 0)} and len(found)  # 0.5 um/px
