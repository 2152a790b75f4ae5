"""What `pathology live` and its calibration refuse before a frame is seen: a line, and no trace."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.errors import ConfigError
from pathology.inference.session_saver import SessionSaver
from pipelines.live import run_live
from pipelines.live_calibrate import CalibrateOptions, calibrate
from pipelines.live_limits import write_limits
from pipelines.live_places import require_places
from tests.conftest import tissue_pixels
from tests.in_process import PATHOLOGY, pathology
from tests.inference.conftest import encoder, head, model_path
from tests.pipelines.test_live import options_of, write_pan

__all__ = ["encoder", "head", "model_path"]  # fixtures


def quiet(line: str) -> None:
    """Nothing."""


@pytest.mark.parametrize("mpp", ["-1", "0", "nan", "50", "inf"])
def test_a_resolution_that_no_microscope_has_is_refused(
    model_path: Path, tmp_path: Path, mpp: str
) -> None:
    words = ["live", "--model", model_path, "--source", tmp_path, "--no-page"]
    for option, given in (("--mpp", []), ("--assume-mpp", ["--mpp", 0.5])):
        done = pathology(*words, *given, f"{option}={mpp}")
        said = f"ConfigError: {option} {mpp}: must lie in 0.02-10 um/px\n"
        assert (done.returncode, done.stderr) == (2, said)
    with pytest.raises(ConfigError, match="--assume-mpp"):
        write_limits(model_path, tmp_path, assume_mpp=float(mpp))


def test_a_recording_that_cannot_be_kept_is_refused_at_the_start(
    model_path: Path, tmp_path: Path
) -> None:
    video = write_pan(tmp_path / "pan.avi", 3)
    (tmp_path / "k.mp4").mkdir()
    (tmp_path / "linked.avi").symlink_to(video)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    bytes_before = video.read_bytes()
    for name, problem in (
        ("k.mp4", "is a folder"), ("pan.avi", "is the source itself"),
        ("k.mp4/../pan.avi", "is the source itself"), ("linked.avi", "is the source itself"),
        ("pan.avi/out.mp4", r"pan\.avi is a file, not a folder"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"--record .*{problem}"):
            run_live(options_of(model_path, str(video), record=tmp_path / name), say=quiet)
    assert video.read_bytes() == bytes_before
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_pictures_are_not_saved_into_the_source_or_below_a_file(
    model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "file").touch()
    for name, problem in (("in", "is the source itself"), ("file", "is a file, not a folder"),
                          ("file/cam", "file is a file, not a folder")):  # fmt: skip
        options = options_of(model_path, str(tmp_path / "in"), save=tmp_path / name)
        with pytest.raises(ConfigError, match=f"--save .*{problem}"):
            run_live(options, say=quiet)


def test_damaged_objectives_stop_only_those_who_need_them(model_path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "objectives.yaml"
    damaged.write_text("objectives: {10x: {mpp: 700}}")
    video, said = str(write_pan(tmp_path / "pan.avi", 4)), list[str]()
    session = run_live(options_of(model_path, video, objectives=damaged), say=said.append)
    assert session.speed.num_frames
    assert sum("objectives.yaml" in line and "by --mpp 0.5" in line for line in said) == 1
    with pytest.raises(ConfigError, match=r"objectives\.yaml"):
        run_live(options_of(model_path, video, objectives=damaged, mpp=None, objective="10x"))


def test_a_file_that_is_no_video_costs_a_line(tmp_path: Path) -> None:
    """Before the model is looked at; and ffmpeg, heard in a process of its own alone, is quiet."""
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("zero.mp4", "text.mp4"):
        words = ("live", "--model", "none.pt", "--source", tmp_path / name, "--mpp", "0.5")
        done = subprocess.run([*PATHOLOGY, *words], capture_output=True, text=True, timeout=60)
        said = f"ConfigError: {tmp_path / name}: cannot be decoded as a video."
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(said)


@pytest.mark.parametrize("length_px", [0.0, -5.0, float("nan")])
def test_a_length_of_no_pixels_measures_nothing(tmp_path: Path, length_px: float) -> None:
    out = tmp_path / "objectives.yaml"
    with pytest.raises(ConfigError, match=r"--length-px .*must be above 0"):
        calibrate(CalibrateOptions("20x", out, length_um=100, length_px=length_px))
    assert not out.exists()


def test_a_picture_of_a_pixel_measures_nothing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dot.png"), np.full((1, 1, 3), 90, np.uint8))
    done = pathology(
        "live", "calibrate", "--objective", "20x", "--picture", tmp_path / "dot.png",
        "--objectives", tmp_path / "objectives.yaml",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("ConfigError: no ruling is plain to see in the picture.")


def test_recordings_and_other_tables_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "session.mp4").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is there already"):
        require_places("0", tmp_path / "session.mp4", None)
    require_places("0", tmp_path / "new.mp4", tmp_path)
    saver = SessionSaver(tmp_path, "one")
    saver._save(tissue_pixels(64, 64), 0.5)
    saver.close()
    require_places("0", None, tmp_path)  # another session goes on with it
    table = tmp_path / "manifest.csv"
    head, row = table.read_text().splitlines()
    table.write_text(f"label,{head}\nbenign,{row}\n")  # by a person, in between
    require_places("0", None, tmp_path)
    saver = SessionSaver(tmp_path, "two")
    saver._save(tissue_pixels(64, 64), 0.5)
    saver.close()
    one, two = csv.DictReader(table.read_text().splitlines())
    assert (one["label"], one["case_id"], two["label"], two["case_id"]) == (
        "benign",
        "one",
        "",
        "two",
    )
    assert two["mpp"] == "0.5" and two["slide_path"].startswith("two/")
    for other in ("slide_id,case_id,slide_path", "slide_id;case_id;slide_path;mpp;domain"):
        table.write_text(f"{other}\n")
        with pytest.raises(ConfigError, match="lacks columns that sessions write"):
            require_places("0", None, tmp_path)
